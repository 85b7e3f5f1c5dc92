//! A client of the gateway, as a browser would be one.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use peregrine_proto::{ClientMessage, ServerMessage, Subscribe, decode, encode};
use peregrine_stack::Stack;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{
        Message,
        protocol::{CloseFrame, Role},
    },
};

/// A connection over WebSocket.
pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects to the stack's gateway and asks for what it wants.
    pub(crate) async fn subscribe(stack: &Stack, subscribe: Subscribe) -> Result<Self> {
        let address = stack.gateway_url().context("the stack has no gateway")?;
        let address = format!("{}/ws", address.replacen("http", "ws", 1));
        let (mut socket, _) = tokio_tungstenite::connect_async(address).await?;
        socket.send(Message::Binary(encode(&ClientMessage::Subscribe(subscribe)).into())).await?;
        Ok(Self(socket))
    }

    /// Reads WebSocket messages from whoever writes them there without being asked.
    pub(crate) async fn without_greeting(address: SocketAddr) -> Result<Self> {
        let stream = MaybeTlsStream::Plain(TcpStream::connect(address).await?);
        Ok(Self(WebSocketStream::from_raw_socket(stream, Role::Client, None).await))
    }

    /// Waits for the next message, at most for so long.
    pub(crate) async fn next(&mut self, longest: Duration) -> Result<ServerMessage> {
        Ok(self.next_with_size(longest).await?.0)
    }

    /// The same, and how many bytes it has.
    pub(crate) async fn next_with_size(&mut self, longest: Duration) -> Result<(ServerMessage, usize)> {
        loop {
            let next = tokio::time::timeout(longest, self.0.next()).await;
            let next = next.with_context(|| format!("no message for {} s", longest.as_secs()))?;
            match next.context("the gateway closed the connection")?? {
                Message::Binary(bytes) => return Ok((decode(&bytes)?, bytes.len())),
                Message::Close(Some(CloseFrame { code, reason })) => {
                    bail!("the gateway closed the connection: {code}, {reason}")
                }
                _ => {}
            }
        }
    }
}
