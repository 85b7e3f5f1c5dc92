/** How the gateway's messages are encoded, as a WebSocket's subprotocol. */
const PROTOCOL = "peregrine.msgpack";

/**
 * What a WebSocket offers. A browser cannot send a header there, so the token goes as a second subprotocol, which the
 * gateway takes out and never answers with.
 */
export function offeredProtocols(token: string | undefined): string[] {
  return token === undefined ? [PROTOCOL] : [PROTOCOL, `peregrine.bearer.${token}`];
}
