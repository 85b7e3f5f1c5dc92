//! Arrays of `f32` as bytes in a checkpoint: four bytes a number instead of five, and exact.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

pub(crate) fn serialize<const N: usize, S: Serializer>(
    values: &[f32; N],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    serializer.serialize_bytes(&bytes)
}

pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[f32; N], D::Error> {
    let bytes = serde_bytes::ByteBuf::deserialize(deserializer)?;
    let (values, rest) = bytes.as_chunks::<4>();
    let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    match (<[f32; N]>::try_from(values), rest) {
        (Ok(values), []) => Ok(values),
        _ => Err(D::Error::custom(format!("{} bytes are not {N} numbers", bytes.len()))),
    }
}
