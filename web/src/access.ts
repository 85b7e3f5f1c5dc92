/** Headers that say who asks; none where the gateway asks for no token. */
export function authorization(): Record<string, string> {
  return {};
}
