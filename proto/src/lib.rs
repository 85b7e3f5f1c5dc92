//! Wire types: what travels between the daemons and to the browser, and nothing else.
//!
//! Every struct is sent as a MessagePack array in the order of its fields ([`wire_struct!`]), every
//! plain enum as a small integer ([`wire_enum!`]); pixels and pictures are MessagePack binary.
//! The same types serialise to JSON with names, for people and for offline files.
//! Results have a second, shorter form for clients ([`compact`]).
//! `docs/protocol.md` and `web/src/wire.ts` are generated from the declarations here (see [`describe`]).

mod camera;
pub mod codec;
pub mod compact;
pub mod describe;
mod frame;
mod ids;
mod ingest;
#[doc(hidden)]
pub mod lenient;
mod mask;
mod message;
mod offload;
mod playback;
mod readable;
mod readable_line;
mod result;
mod schema;
mod source_uri;
mod stage;
mod step;

pub use camera::*;
pub use codec::{DecodeError, brief, decode, encode};
pub use frame::*;
pub use ids::*;
pub use ingest::*;
pub use mask::{HIDDEN, mask, without_values};
pub use message::*;
pub use offload::*;
pub use playback::*;
pub use readable_line::is_readable_line;
pub use result::*;
pub use schema::*;
pub use source_uri::*;
pub use stage::*;
pub use step::*;
