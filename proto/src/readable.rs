//! How binary fields are written where people read: for `#[serde(with = …)]`.

/// Bytes as base64 in JSON, as they are in MessagePack.
pub(crate) mod base64 {
    use base64::{Engine, prelude::BASE64_STANDARD};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
    use serde_bytes::ByteBuf;

    pub(crate) fn serialize<S: Serializer>(bytes: &ByteBuf, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_str(&BASE64_STANDARD.encode(bytes))
        } else {
            bytes.serialize(s)
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ByteBuf, D::Error> {
        if !d.is_human_readable() {
            return ByteBuf::deserialize(d);
        }
        BASE64_STANDARD.decode(String::deserialize(d)?).map(ByteBuf::from).map_err(D::Error::custom)
    }
}

/// A module for bytes that encode a value of their own: the value itself in JSON, its bytes in MessagePack.
macro_rules! encoded {
    ($($(#[doc = $doc:literal])* $module:ident: $value:ty,)*) => {$(
        $(#[doc = $doc])*
        pub(crate) mod $module {
            use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error};
            use serde_bytes::ByteBuf;

            pub(crate) fn serialize<S: Serializer>(bytes: &ByteBuf, s: S) -> Result<S::Ok, S::Error> {
                if !s.is_human_readable() {
                    return bytes.serialize(s);
                }
                crate::decode::<$value>(bytes).map_err(S::Error::custom)?.serialize(s)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ByteBuf, D::Error> {
                if !d.is_human_readable() {
                    return ByteBuf::deserialize(d);
                }
                <$value>::deserialize(d).map(|value| crate::encode(&value).into())
            }
        }
    )*};
}

encoded! {
    /// An encoded `FrameResult`.
    result: crate::FrameResult,
    /// An encoded `Step`.
    step: crate::Step,
    /// An encoded `StepMap`.
    step_map: crate::StepMap,
}
