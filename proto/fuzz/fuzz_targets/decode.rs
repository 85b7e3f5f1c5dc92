//! Any bytes, into every decoder: `cargo +nightly fuzz run decode` in `proto/`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use peregrine_proto::{
    ClientMessage, DetectAnswer, DetectRequest, FrameHeader, FrameId, FrameResult, ServerMessage, compact, decode,
    encode,
};

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::<ClientMessage>(bytes);
    let _ = decode::<ServerMessage>(bytes);
    let _ = decode::<FrameResult>(bytes);
    if let Ok(result) = compact::decode(FrameId::ZERO, bytes) {
        let packed = compact::encode(FrameId::ZERO, &result);
        assert!(compact::decode(FrameId::ZERO, &packed).is_ok());
    }
    let _ = decode::<DetectRequest>(bytes);
    let _ = decode::<DetectAnswer>(bytes);
    if let Ok(header) = decode::<FrameHeader>(bytes) {
        let _ = header.data_len();
        assert!(decode::<FrameHeader>(&encode(&header)).is_ok());
    }
});
