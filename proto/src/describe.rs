//! Describes the wire types to people and to other languages: the source of `docs/protocol.md` and
//! `web/src/wire.ts`. A test regenerates both and fails when they drift.

use std::collections::BTreeMap;

/// The type of a field as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireType {
    /// A boolean.
    Bool,
    /// An integer that fits a JavaScript number.
    Int(&'static str),
    /// A floating point number.
    Float(&'static str),
    /// UTF-8 text.
    Text,
    /// MessagePack binary.
    Bytes,
    /// Another declared type, by name.
    Named(&'static str),
    /// A value or nil.
    Optional(Box<WireType>),
    /// A list of any length.
    List(Box<WireType>),
    /// A list of a fixed length.
    Array(Box<WireType>, usize),
    /// Values by name.
    Map(Box<WireType>),
}

/// Implemented for whatever may stand in a field of a wire type.
pub trait Wire {
    /// How the type travels.
    fn wire_type() -> WireType;
}

/// A struct, a plain enum or a message enum, with its documentation.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The type's name.
    pub name: &'static str,
    /// Its documentation.
    pub doc: String,
    /// What it consists of.
    pub body: Body,
}

/// What a declared type consists of.
#[derive(Debug, Clone)]
pub enum Body {
    /// Sent as an array of these fields, in this order.
    Struct(Vec<Field>),
    /// Sent as an integer in MessagePack, as the name in JSON.
    Enum(Vec<Variant>),
    /// Sent as a map with one entry: variant name → value.
    Union(Vec<Field>),
}

/// A field of a struct, or a variant of a message with the type of its value.
#[derive(Debug, Clone)]
pub struct Field {
    /// The name, as in the code and in JSON.
    pub name: &'static str,
    /// How it travels.
    pub wire: WireType,
    /// Its documentation.
    pub doc: String,
    /// Whether it may be missing at the end of the array, and then has its type's default.
    pub optional: bool,
}

/// A value of a plain enum.
#[derive(Debug, Clone)]
pub struct Variant {
    /// The name, as in JSON.
    pub name: &'static str,
    /// The integer in MessagePack.
    pub code: u8,
    /// Its documentation.
    pub doc: String,
}

/// A type that describes itself.
pub trait Describe {
    /// The type's declaration.
    fn declaration() -> Declaration;
}

/// Joins the lines of a doc comment.
pub fn doc(lines: &[&str]) -> String {
    lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

macro_rules! wire_leaf {
    ($($ty:ty => $wire:expr),* $(,)?) => { $(impl Wire for $ty { fn wire_type() -> WireType { $wire } })* };
}
wire_leaf! {
    bool => WireType::Bool,
    u8 => WireType::Int("u8"), u16 => WireType::Int("u16"), u32 => WireType::Int("u32"), u64 => WireType::Int("u64"), i64 => WireType::Int("i64"),
    i32 => WireType::Int("i32"),
    f32 => WireType::Float("f32"), f64 => WireType::Float("f64"),
    String => WireType::Text,
    serde_bytes::ByteBuf => WireType::Bytes,
}
impl<T: Wire> Wire for Option<T> {
    fn wire_type() -> WireType {
        WireType::Optional(Box::new(T::wire_type()))
    }
}
impl<T: Wire> Wire for Vec<T> {
    fn wire_type() -> WireType {
        WireType::List(Box::new(T::wire_type()))
    }
}
impl<T: Wire, const N: usize> Wire for [T; N] {
    fn wire_type() -> WireType {
        WireType::Array(Box::new(T::wire_type()), N)
    }
}
impl<T: Wire> Wire for BTreeMap<String, T> {
    fn wire_type() -> WireType {
        WireType::Map(Box::new(T::wire_type()))
    }
}

/// Declares a struct that travels as an array of its fields and describes itself.
///
/// A later release of the same schema adds fields at the end, with `#[serde(default)]`: they may be missing, and a reader passes over
/// those that it does not know. `skip_serializing_if` may stand at the last field only: there it leaves no hole in the array.
#[macro_export]
macro_rules! wire_struct {
    ($(#[doc = $doc:literal])* $(#[derive($($derive:ident),*)])? pub struct $name:ident {
        $($(#[doc = $fdoc:literal])* $(#[serde($($attr:tt)*)])? pub $field:ident : $ty:ty,)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize $(, $($derive),*)?)]
        pub struct $name { $($(#[doc = $fdoc])* $(#[serde($($attr)*)])? pub $field: $ty,)* }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                // Of the same name, because errors say it.
                #[derive(serde::Deserialize)]
                #[serde(deny_unknown_fields)]
                struct $name { $($(#[serde($($attr)*)])? $field: $ty,)* }
                let $name { $($field),* } = <$name as serde::Deserialize>::deserialize($crate::lenient::Lenient(d))?;
                Ok(Self { $($field),* })
            }
        }
        impl $crate::describe::Wire for $name {
            fn wire_type() -> $crate::describe::WireType { $crate::describe::WireType::Named(stringify!($name)) }
        }
        impl $crate::describe::Describe for $name {
            fn declaration() -> $crate::describe::Declaration {
                $crate::describe::Declaration {
                    name: stringify!($name),
                    doc: $crate::describe::doc(&[$($doc),*]),
                    body: $crate::describe::Body::Struct(vec![$($crate::describe::Field {
                        name: stringify!($field),
                        wire: <$ty as $crate::describe::Wire>::wire_type(),
                        doc: $crate::describe::doc(&[$($fdoc),*]),
                        optional: concat!($(stringify!($($attr)*))?).starts_with("default"),
                    }),*]),
                }
            }
        }
    };
}

/// Declares an enum without payload: an integer in MessagePack, a name in JSON and in metrics' labels.
///
/// Codes count up from 0, and values are only added. A code that this release does not know is read as `Other` and keeps its number:
/// it is written again as it came.
#[macro_export]
macro_rules! wire_enum {
    ($(#[doc = $doc:literal])* pub enum $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident = $code:literal $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[doc = $vdoc])* $variant,)*
            /// A value of a later release, by its code.
            Other(u8),
        }
        impl $name {
            /// Every value that this release knows, in the order of their codes.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];
            /// The name, as in metrics and documentation; `other` for every value of a later release.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* $name::Other(_) => "other" }
            }
            /// The code, as in MessagePack.
            pub const fn code(self) -> u8 {
                match self { $($name::$variant => $code,)* $name::Other(code) => code }
            }
            /// The value with this code.
            pub const fn from_code(code: u8) -> Self {
                match code { $($code => $name::$variant,)* other => $name::Other(other) }
            }
        }
        /// As in JSON: the name, or `other:` and the code.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self { $name::Other(code) => write!(f, "other:{code}"), known => f.write_str(known.as_str()) }
            }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok($name::$variant),)*
                    other => match other.strip_prefix("other:").and_then(|code| code.parse().ok()) {
                        Some(code) => Ok($name::from_code(code)),
                        None => Err(format!("`{other}` is none of {}", [$($text),*].join(", "))),
                    }
                }
            }
        }
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u8(self.code()) }
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                    text.parse().map_err(<D::Error as serde::de::Error>::custom)
                } else {
                    u8::deserialize(d).map(Self::from_code)
                }
            }
        }
        impl $crate::describe::Wire for $name {
            fn wire_type() -> $crate::describe::WireType { $crate::describe::WireType::Named(stringify!($name)) }
        }
        impl $crate::describe::Describe for $name {
            fn declaration() -> $crate::describe::Declaration {
                $crate::describe::Declaration {
                    name: stringify!($name),
                    doc: $crate::describe::doc(&[$($doc),*]),
                    body: $crate::describe::Body::Enum(vec![$($crate::describe::Variant {
                        name: $text, code: $code, doc: $crate::describe::doc(&[$($vdoc),*]),
                    }),*]),
                }
            }
        }
    };
}

/// Declares a message: a map with one entry, the variant's name and its value.
#[macro_export]
macro_rules! wire_union {
    ($(#[doc = $doc:literal])* pub enum $name:ident { $($(#[doc = $vdoc:literal])* $variant:ident($ty:ty) = $text:literal,)* }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[doc = $vdoc])* #[serde(rename = $text)] $variant($ty),)* }
        impl $crate::describe::Describe for $name {
            fn declaration() -> $crate::describe::Declaration {
                $crate::describe::Declaration {
                    name: stringify!($name),
                    doc: $crate::describe::doc(&[$($doc),*]),
                    body: $crate::describe::Body::Union(vec![$($crate::describe::Field {
                        name: $text,
                        wire: <$ty as $crate::describe::Wire>::wire_type(),
                        doc: $crate::describe::doc(&[$($vdoc),*]),
                        optional: false,
                    }),*]),
                }
            }
        }
    };
}

/// Every declared type, those without dependencies first.
pub fn declarations() -> Vec<Declaration> {
    use crate as p;
    vec![
        p::Stage::declaration(),
        p::StageTime::declaration(),
        p::Size::declaration(),
        p::PixelFormat::declaration(),
        p::ColourMatrix::declaration(),
        p::ColourRange::declaration(),
        p::Colour::declaration(),
        p::LossReason::declaration(),
        p::LossCount::declaration(),
        p::FrameHeader::declaration(),
        p::ResultStatus::declaration(),
        p::TrackState::declaration(),
        p::Notice::declaration(),
        p::Detection::declaration(),
        p::Speed::declaration(),
        p::Track::declaration(),
        p::FrameResult::declaration(),
        p::DetectRequest::declaration(),
        p::DetectAnswer::declaration(),
        p::Subscribe::declaration(),
        p::Unsubscribe::declaration(),
        p::Ping::declaration(),
        p::Painted::declaration(),
        p::Pause::declaration(),
        p::Play::declaration(),
        p::Seek::declaration(),
        p::PlaybackStep::declaration(),
        p::PlaybackSpeed::declaration(),
        p::SubscribeSteps::declaration(),
        p::ClientMessage::declaration(),
        p::CameraHealth::declaration(),
        p::CameraState::declaration(),
        p::Welcome::declaration(),
        p::Cameras::declaration(),
        p::ResultMessage::declaration(),
        p::Preview::declaration(),
        p::Pong::declaration(),
        p::Missed::declaration(),
        p::Problem::declaration(),
        p::PlaybackState::declaration(),
        p::Playback::declaration(),
        p::Gap::declaration(),
        p::Ego::declaration(),
        p::StepObject::declaration(),
        p::MapLine::declaration(),
        p::StepMap::declaration(),
        p::Step::declaration(),
        p::StreamState::declaration(),
        p::Streams::declaration(),
        p::StepMessage::declaration(),
        p::StepMapMessage::declaration(),
        p::FrameAnswer::declaration(),
        p::ServerMessage::declaration(),
    ]
}
