use crate::wire_struct;

/// The address of a source whose frames clients bring.
pub const INGEST_URI: &str = "ingest:";

wire_struct! {
    /// Answers each frame that a client brought over `/ws/ingest/{camera}`: as JSON, in a text message.
    pub struct FrameAnswer {
        /// Which frame of this connection, from 1.
        pub frame: u64,
        /// Whether it goes to the camera's producer. It does not while the pipeline is busy: send the newest next.
        pub taken: bool,
        /// Frames of this connection that were not taken.
        pub skipped: u64,
        /// What is wrong with the frame, with the last one that was taken, or with the pipeline, where something is.
        pub problem: Option<String>,
    }
}
