/** How messages may be written, as subprotocols of a WebSocket, the best first: docs/protocol.md. */
const ENCODINGS = ["peregrine.compact", "peregrine.msgpack"];

/**
 * What a WebSocket offers. A browser cannot send a header there, so the token goes as one more subprotocol, which the
 * gateway takes out and never answers with.
 */
export function offeredProtocols(token: string | undefined, own: readonly string[] = ENCODINGS): string[] {
  return token === undefined ? [...own] : [...own, `peregrine.bearer.${token}`];
}
