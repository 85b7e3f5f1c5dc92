//! Judges while a model runs whether it can be right what it gives: a layout that was taken for another one shows in scores that
//! are none, in boxes that no picture has, in class numbers that are not whole.
//!
//! Only what is read anyway is judged in every frame; all values are looked at in few. One odd box proves nothing: a doubt begins
//! when half of the last frames give cause for it, and ends when hardly any does.

use peregrine_proto::{Notice, Size};

use super::candidates::{Candidate, Survey};
use crate::model::{Head, ModelInfo};

/// The first so many frames are surveyed, then every so many-th.
const SURVEYED_FIRST: u64 = 8;
const SURVEYED_EVERY: u64 = 32;
/// A doubt takes at least so many frames with evidence.
const LEAST_FRAMES: u32 = 8;
/// At the end of a video, so many are enough.
const LEAST_AT_THE_END: u32 = 3;
/// A box sticks out that leaves the model's input by more than this share of its size.
const STICKS_OUT: f32 = 0.1;

/// Watches over one model's outputs.
#[derive(Debug, Clone)]
pub(super) struct Judge {
    input: Size,
    head: Head,
    frames: u64,
    frame: Frame,
    windows: [Window; 4],
    /// Doubts that stand.
    standing: Vec<Notice>,
}

/// Observations of the present frame.
#[derive(Debug, Clone, Copy, Default)]
struct Frame {
    survey: Option<Survey>,
    candidates: u32,
    /// A score that is none.
    score: Option<f32>,
    small: u32,
    /// Width and height of one of these.
    small_size: [f32; 2],
    outside: u32,
    /// One of these.
    outside_box: [f32; 4],
    /// Candidates that are wider than their centre is from the left, and higher than it is from the top: all, where these are
    /// corners that were taken for centre and size.
    like_corners: u32,
    sticks_out: u32,
}

/// Of the last 64 frames with evidence, which gave cause for a doubt; with what it was last seen by.
#[derive(Debug, Clone, Default)]
struct Window {
    bad: u64,
    seen: u32,
    example: String,
}

/// The doubts that are watched for, each with a window.
const WATCHED: [Notice; 4] =
    [Notice::ScoresOutOfRange, Notice::BoxesUnderAPixel, Notice::BoxesOutside, Notice::ClassesNotWhole];

/// A doubt begins or ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    Begins(Notice),
    Ends(Notice),
}

impl Judge {
    pub(super) fn new(info: &ModelInfo) -> Self {
        let standing = if info.rivals.is_empty() { Vec::new() } else { vec![Notice::OutputsAmbiguous] };
        Self {
            input: info.input,
            head: info.head,
            frames: 0,
            frame: Frame::default(),
            windows: Default::default(),
            standing,
        }
    }

    /// The doubts that stand.
    pub(super) fn standing(&self) -> &[Notice] {
        &self.standing
    }

    /// The last evidence of each doubt.
    pub(super) fn example(&self, doubt: Notice) -> &str {
        let watched = WATCHED.iter().position(|watched| *watched == doubt);
        watched.map_or("", |at| &self.windows[at].example)
    }

    /// Begins a frame: whether all its values are to be looked at.
    pub(super) fn begin(&mut self) -> bool {
        self.frame = Frame::default();
        self.frames += 1;
        // Few boxes are looked at in no time.
        self.head == Head::EndToEnd
            || self.frames <= SURVEYED_FIRST
            || self.frames.is_multiple_of(SURVEYED_EVERY)
    }

    pub(super) fn survey(&mut self, survey: Survey) {
        self.frame.survey = Some(survey);
    }

    /// A candidate of this frame, before anything is left out.
    pub(super) fn candidate(&mut self, candidate: &Candidate) {
        let frame = &mut self.frame;
        frame.candidates += 1;
        if !super::candidates::SCORES.contains(&candidate.score) {
            frame.score = Some(candidate.score);
        }
        let [left, top, right, bottom] = candidate.xyxy;
        let (width, height) = (right - left, bottom - top);
        if width < 1.0 || height < 1.0 {
            frame.small += 1;
            frame.small_size = [width, height];
            return;
        }
        let [full_width, full_height] = [self.input.width as f32, self.input.height as f32];
        let inside = |from: f32, to: f32, full: f32| (to.min(full) - from.max(0.0)).max(0.0) / (to - from);
        let (across, down) = (inside(left, right, full_width), inside(top, bottom, full_height));
        let part = across * down;
        // Boxes of no numbers are nowhere.
        if part.is_nan() || part < 0.5 {
            frame.outside += 1;
            frame.outside_box = candidate.xyxy;
        }
        frame.like_corners += u32::from(right + left <= 2.0 * width && bottom + top <= 2.0 * height);
        let sticks_out = across.min(down) < 1.0 - STICKS_OUT;
        frame.sticks_out += u32::from(sticks_out);
    }

    /// Ends a frame: the doubts that begin or end with it.
    pub(super) fn end(&mut self) -> Vec<Change> {
        let frame = self.frame;
        let evidence = [scores(&frame), small(&frame), outside(&frame, self.head), classes(&frame)];
        let mut changes = Vec::new();
        for ((doubt, window), evidence) in WATCHED.into_iter().zip(&mut self.windows).zip(evidence) {
            match evidence {
                None => continue,
                Some(Evidence::Good) => window.push(false),
                Some(Evidence::Bad(example)) => {
                    window.push(true);
                    // Told when the doubt begins: later ones need no text.
                    if !self.standing.contains(&doubt) {
                        window.example = example.to_string();
                    }
                }
            }
            let stands = self.standing.contains(&doubt);
            if !stands && window.seen >= LEAST_FRAMES && window.is_mostly_bad() {
                self.standing.push(doubt);
                changes.push(Change::Begins(doubt));
            } else if stands && window.is_hardly_bad() {
                self.standing.retain(|standing| *standing != doubt);
                changes.push(Change::Ends(doubt));
            }
        }
        changes
    }

    /// No frame follows: the doubts that so few frames leave.
    pub(super) fn conclude(&mut self) -> Vec<Change> {
        let least = LEAST_AT_THE_END.min(u32::try_from(self.frames).unwrap_or(u32::MAX));
        let mut changes = Vec::new();
        for (doubt, window) in WATCHED.into_iter().zip(&self.windows) {
            if !self.standing.contains(&doubt)
                && window.bad.count_ones() >= least.max(1)
                && window.is_mostly_bad()
            {
                self.standing.push(doubt);
                changes.push(Change::Begins(doubt));
            }
        }
        changes
    }
}

/// A frame's vote on a doubt.
enum Evidence {
    Good,
    /// With what shows it.
    Bad(Example),
}

/// The evidence of a doubt.
enum Example {
    Score(f32),
    Size([f32; 2]),
    Box([f32; 4]),
    LogSize(f32),
    Corners,
    Class(f32),
}

impl std::fmt::Display for Example {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Score(score) => write!(f, "{score:.3}"),
            Self::Size([width, height]) => write!(f, "{width:.3} by {height:.3}"),
            Self::Box([left, top, right, bottom]) => {
                write!(f, "from ({left:.0}, {top:.0}) to ({right:.0}, {bottom:.0})")
            }
            Self::LogSize(size) => write!(f, "e^{size:.0} cells wide or high"),
            Self::Corners => f.write_str(
                "all are wider than their centre is from the left, and higher than it is from the top",
            ),
            Self::Class(class) => write!(f, "{class:.3}"),
        }
    }
}

fn scores(frame: &Frame) -> Option<Evidence> {
    let survey = frame.survey;
    match frame.score.or_else(|| survey?.score) {
        Some(score) => Some(Evidence::Bad(Example::Score(score))),
        // High scores that are none are rarer than low ones: only a look at all of them clears a frame.
        None => survey.map(|_| Evidence::Good),
    }
}

fn small(frame: &Frame) -> Option<Evidence> {
    match frame.candidates {
        0 => None,
        candidates if 2 * frame.small > candidates => Some(Evidence::Bad(Example::Size(frame.small_size))),
        _ => Some(Evidence::Good),
    }
}

fn outside(frame: &Frame, head: Head) -> Option<Evidence> {
    if let Some(size) = frame.survey.and_then(|survey| survey.size) {
        return Some(Evidence::Bad(Example::LogSize(size)));
    }
    let has_centres = matches!(head, Head::YoloV5 | Head::YoloV8 | Head::YoloV8Transposed);
    match frame.candidates {
        0 => None,
        candidates if 2 * frame.outside > candidates => Some(Evidence::Bad(Example::Box(frame.outside_box))),
        candidates if has_centres && frame.like_corners == candidates && frame.sticks_out > 0 => {
            Some(Evidence::Bad(Example::Corners))
        }
        _ => Some(Evidence::Good),
    }
}

fn classes(frame: &Frame) -> Option<Evidence> {
    let Survey { classes: (rows, bad), class, .. } = frame.survey?;
    match class {
        Some(class) if 2 * bad > rows => Some(Evidence::Bad(Example::Class(class))),
        _ if rows > 0 => Some(Evidence::Good),
        _ => None,
    }
}

impl Window {
    fn push(&mut self, bad: bool) {
        self.bad = self.bad << 1 | u64::from(bad);
        self.seen = (self.seen + 1).min(u64::BITS);
    }

    /// At least half.
    fn is_mostly_bad(&self) -> bool {
        2 * self.bad.count_ones() >= self.seen
    }

    /// Less than an eighth.
    fn is_hardly_bad(&self) -> bool {
        8 * self.bad.count_ones() < self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ColourOrder, Placement, ValueRange};

    const INPUT: Size = Size { width: 640, height: 640 };
    const GOOD: Candidate = Candidate { xyxy: [300.0, 300.0, 340.0, 380.0], score: 0.9, class_id: 0 };
    const NONE: [Change; 0] = [];
    const SMALL: Candidate = Candidate { xyxy: [0.4, 0.4, 0.6, 0.5], ..GOOD };

    fn judge(head: Head) -> Judge {
        Judge::new(&ModelInfo {
            name: "m".into(),
            input: INPUT,
            head,
            rivals: Vec::new(),
            classes: vec!["a".into()],
            colour: ColourOrder::Rgb,
            range: ValueRange::Unit,
            placement: Placement::Centre,
            pad: 114,
            licence: None,
        })
    }

    fn frame(judge: &mut Judge, candidates: &[Candidate]) -> Vec<Change> {
        if judge.begin() {
            judge.survey(Survey::default());
        }
        candidates.iter().for_each(|candidate| judge.candidate(candidate));
        judge.end()
    }

    #[test]
    fn doubt_begins_or_ends_with_single_frames() {
        let mut judge = judge(Head::YoloV8);
        for _ in 0..7 {
            assert_eq!(frame(&mut judge, &[SMALL]), NONE);
        }
        assert_eq!(frame(&mut judge, &[SMALL]), [Change::Begins(Notice::BoxesUnderAPixel)]);
        assert_eq!(judge.example(Notice::BoxesUnderAPixel), "0.200 by 0.100");
        let good = (0..100).position(|_| !frame(&mut judge, &[GOOD]).is_empty());
        assert_eq!(good, Some(56), "eight of 64 are an eighth; seven are less");
        assert!(judge.standing().is_empty());
        assert_eq!(frame(&mut judge, &[SMALL]), NONE, "nor does one frame bring it back");
    }

    #[test]
    fn odd_boxes_or_empty_frames_raise_a_doubt() {
        let mut judge = judge(Head::YoloV8);
        let far = Candidate { xyxy: [900.0, 0.0, 950.0, 50.0], ..GOOD };
        for at in 0..1000 {
            let changes = match at % 4 {
                0 => frame(&mut judge, &[GOOD, SMALL, far, GOOD]),
                1 => frame(&mut judge, &[]),
                2 if at % 20 == 2 => frame(&mut judge, &[far]),
                _ => frame(&mut judge, &[GOOD]),
            };
            assert_eq!(changes, NONE, "frame {at}");
        }
        assert_eq!(judge.conclude(), NONE);
    }

    #[test]
    fn only_object_of_a_video_raises_a_doubt() {
        let mut judge = judge(Head::YoloV8);
        frame(&mut judge, &[SMALL]);
        (0..20).for_each(|_| drop(frame(&mut judge, &[])));
        assert_eq!(judge.conclude(), NONE, "one frame of many");
    }

    #[test]
    fn large_object_near_the_corner_is_taken_for_corners() {
        let mut judge = judge(Head::YoloV8);
        // A face before the camera, a little beyond the picture.
        let face = Candidate { xyxy: [-12.0, -20.0, 600.0, 650.0], ..GOOD };
        for _ in 0..50 {
            assert_eq!(frame(&mut judge, &[face]), NONE);
        }
        // Corners of a box from (100, 400) to (150, 500), read as centre and size.
        let corners = Candidate { xyxy: [25.0, 150.0, 175.0, 650.0], ..GOOD };
        // And of one from (500, 480) to (620, 600).
        let another = Candidate { xyxy: [190.0, 180.0, 810.0, 780.0], ..GOOD };
        let begins = (0..60).any(|_| !frame(&mut judge, &[corners, another]).is_empty());
        assert!(begins && judge.standing() == [Notice::BoxesOutside], "{:?}", judge.standing());
    }

    #[test]
    fn infinite_boxes_or_scores_are_taken_for_good_ones() {
        for (candidate, doubt) in [
            (Candidate { xyxy: [-f32::INFINITY, 0.0, f32::INFINITY, 9.0], ..GOOD }, Notice::BoxesOutside),
            (Candidate { xyxy: [f32::NAN, 0.0, 9.0, 9.0], ..GOOD }, Notice::BoxesOutside),
            (Candidate { score: 1.01, ..GOOD }, Notice::ScoresOutOfRange),
            (Candidate { score: f32::INFINITY, ..GOOD }, Notice::ScoresOutOfRange),
        ] {
            let mut judge = judge(Head::YoloV5);
            (0..8).for_each(|_| drop(frame(&mut judge, &[candidate])));
            assert_eq!(judge.standing(), [doubt], "{candidate:?}");
        }
    }
}
