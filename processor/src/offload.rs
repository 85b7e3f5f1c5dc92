//! Offload: where a camera's frames come faster than this worker can detect them, idle workers detect the surplus.
//!
//! This worker keeps the camera's lease, and the frames with their pixels; it alone tracks and commits, in the frames'
//! order. A frame that nobody detects in time is detected here after all, so that a helper's death costs a moment
//! and no frame. How many frames may be with others at once is found out as a sender finds out what a network bears
//! (additive increase, multiplicative decrease: Chiu and Jain 1989): one more for each answer, half as many when one stays away.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use peregrine_daemon::Metric;
use peregrine_proto::{DetectAnswer, DetectRequest};
use peregrine_streams::Redis;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, info, warn};

use crate::journey::{InHand, Inferred, Whose};

/// So many frames may be with each helper: one that it detects, and the next.
const WITH_EACH: usize = 2;
/// An answer is late after so many times what answers usually take; before the first one, what the model takes.
const LATE_AFTER: u32 = 3;
/// But never before, and never after these.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);
const MOST_PATIENCE: Duration = Duration::from_secs(1);
/// When nobody helps, it is tried again after this, and then after twice as long each time.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Frames that are detected elsewhere.
pub(crate) struct Offload {
    redis: Redis,
    /// Only workers with the same model can help.
    model: String,
    /// This worker with its nonce: answers of an earlier life never come here.
    worker: String,
    state: Mutex<State>,
    /// Told when something was asked.
    asked: Notify,
}

/// What others can do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// So many frames may be with them at once.
    pub(crate) window: usize,
    /// So many more than there are now.
    pub(crate) free: usize,
}

struct State {
    window: Window,
    asked: HashMap<u64, Asked>,
    last_ticket: u64,
    /// Nothing more is asked.
    closed: bool,
}

struct Asked {
    in_hand: InHand<Bytes>,
    at: Instant,
}

impl Offload {
    /// For a `model` that takes `inference` for a frame.
    pub(crate) fn new(redis: &Redis, model: &str, inference: Duration, worker: String) -> Self {
        let state =
            State { window: Window::new(inference), asked: HashMap::new(), last_ticket: 0, closed: false };
        Self {
            redis: redis.clone(),
            model: model.to_owned(),
            worker,
            state: Mutex::new(state),
            asked: Notify::new(),
        }
    }

    /// Notes how many other workers are alive.
    pub(crate) fn set_others(&self, others: usize) {
        self.state().window.set_others(others);
    }

    /// What others can do now.
    pub(crate) fn room(&self) -> Room {
        let state = self.state();
        let window = if state.closed { 0 } else { state.window.size(Instant::now()) };
        Room { window, free: window.saturating_sub(state.asked.len()) }
    }

    /// Asks others to detect a frame of ours. Gives it back where there is no room, or Redis refuses.
    pub(crate) async fn ask(&self, in_hand: InHand<Bytes>) -> Option<InHand<Bytes>> {
        let Some(request) = self.request(&in_hand) else { return Some(in_hand) };
        let ticket = request.ticket;
        self.state().asked.insert(ticket, Asked { in_hand, at: Instant::now() });
        // Reading goes on behind this: better done here than asked late.
        let asked =
            tokio::time::timeout(LEAST_PATIENCE, self.redis.ask_to_detect(&self.model, &request)).await;
        match asked {
            Ok(Ok(())) => {
                self.asked.notify_one();
                None
            }
            refused => {
                debug!(camera = %request.camera, ?refused, "cannot ask others to detect");
                count("refused");
                let mut state = self.state();
                state.window.unanswered(Instant::now());
                // None where that took so long that it is being detected here already.
                state.asked.remove(&ticket).map(|asked| asked.in_hand)
            }
        }
    }

    /// What to ask, where there is room.
    fn request(&self, in_hand: &InHand<Bytes>) -> Option<DetectRequest> {
        let (Whose::Ours(place), Some(header), Ok(_)) =
            (&in_hand.whose, &in_hand.frame.header, &in_hand.picture)
        else {
            return None;
        };
        if self.room().free == 0 {
            return None;
        }
        let camera = place.camera.id();
        let mut state = self.state();
        if state.window.begin(Instant::now()) {
            info!(%camera, "hotter than this worker: idle ones are asked to help");
        }
        state.last_ticket += 1;
        let wanted = place.camera.wanted(header.source);
        Some(DetectRequest {
            schema: self.redis.schema(),
            camera: camera.clone(),
            id: in_hand.frame.id,
            confidence: wanted.confidence,
            nms_iou: wanted.nms_iou,
            classes: wanted.classes.map(<[u16]>::to_vec),
            ticket: state.last_ticket,
            answer_to: self.worker.clone(),
        })
    }

    /// Takes answers, and gives what stays unanswered to the `journey`, until it is closed and nothing is asked any more.
    pub(crate) async fn run(
        self: Arc<Self>,
        journey: mpsc::Sender<InHand<Bytes>>,
        inferred: mpsc::Sender<InHand<Inferred>>,
    ) {
        // Most workers never need help: until then, this costs no connection.
        self.asked.notified().await;
        let (sender, mut answers) = mpsc::channel(1);
        let answering = tokio::spawn(follow(self.redis.clone(), self.worker.clone(), sender));
        while !self.is_done() {
            let late = self.next_late();
            tokio::select! {
                answer = answers.recv() => if let Some(answer) = answer {
                    self.take(answer, &journey, &inferred).await;
                },
                () = tokio::time::sleep_until(late.into()) => self.take_back(&journey),
                () = self.asked.notified() => {}
            }
        }
        answering.abort();
    }

    /// Nothing more is asked.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.asked.notify_one();
    }

    fn is_done(&self) -> bool {
        let state = self.state();
        state.closed && state.asked.is_empty()
    }

    /// When the oldest answer is late; far away where none is awaited.
    fn next_late(&self) -> Instant {
        let state = self.state();
        let oldest = state.asked.values().map(|asked| asked.at).min();
        oldest.map_or_else(|| Instant::now() + PAUSE, |at| at + state.window.patience())
    }

    async fn take(
        &self,
        answer: DetectAnswer,
        journey: &mpsc::Sender<InHand<Bytes>>,
        inferred: &mpsc::Sender<InHand<Inferred>>,
    ) {
        let Some(Asked { in_hand, at }) = self.state().asked.remove(&answer.ticket) else {
            // It came late, and the frame was detected here.
            return;
        };
        let InHand { whose, mut frame, picture } = in_hand;
        match answer.detections {
            Some(detections) => {
                count("answered");
                self.state().window.answered(at.elapsed());
                frame.clock.lap_elsewhere(&answer.stages);
                // The journey ends after this task.
                let _ = inferred
                    .send(InHand { whose, frame, picture: Ok(Inferred::Elsewhere(detections)) })
                    .await;
            }
            None => {
                count("gone");
                detect_here(InHand { whose, frame, picture }, journey);
            }
        }
    }

    /// Frames whose answer is late are detected here.
    fn take_back(&self, journey: &mpsc::Sender<InHand<Bytes>>) {
        let now = Instant::now();
        let mut state = self.state();
        let State { window, asked, .. } = &mut *state;
        let patience = window.patience();
        let mut late: Vec<Asked> = asked
            .extract_if(|_, asked| now.duration_since(asked.at) >= patience)
            .map(|(_, asked)| asked)
            .collect();
        if !late.is_empty() {
            window.unanswered(now);
        }
        late.sort_by_key(|asked| asked.at);
        for Asked { in_hand, .. } in late {
            count("late");
            detect_here(in_hand, journey);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is half changed where a holder of this lock could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In a task of its own: the journey may be full, and answers must go on being taken meanwhile.
fn detect_here(in_hand: InHand<Bytes>, journey: &mpsc::Sender<InHand<Bytes>>) {
    let journey = journey.clone();
    tokio::spawn(async move {
        let _ = journey.send(in_hand.detect_here()).await;
    });
}

fn count(outcome: &str) {
    Metric::OffloadedFrames.counter([outcome]).inc();
}

/// Passes answers on as they come; ended from outside.
async fn follow(redis: Redis, worker: String, answers: mpsc::Sender<DetectAnswer>) {
    let mut queue = redis.detect_answers(&worker);
    loop {
        match queue.next().await {
            Ok(Some(answer)) => {
                let _ = answers.send(answer).await;
            }
            Ok(None) => {}
            Err(error) => warn!(%error, "answers of other workers cannot be read: trying again"),
        }
    }
}

/// How many frames may be with others at once.
#[derive(Debug)]
struct Window {
    /// Other workers that are alive.
    others: usize,
    /// The size, but for a pause.
    size: usize,
    paused_until: Option<Instant>,
    next_pause: Duration,
    /// What an answer usually takes: a moving average.
    usual: Duration,
    last_asked: Option<Instant>,
}

impl Window {
    fn new(inference: Duration) -> Self {
        Self { others: 0, size: 0, paused_until: None, next_pause: PAUSE, usual: inference, last_asked: None }
    }

    fn set_others(&mut self, others: usize) {
        self.others = others;
        self.size = self.size.clamp(usize::from(others > 0), WITH_EACH * others);
    }

    fn size(&self, now: Instant) -> usize {
        if self.paused_until.is_some_and(|until| now < until) { 0 } else { self.size }
    }

    /// Notes that a frame is asked for; true when none was for a while.
    fn begin(&mut self, now: Instant) -> bool {
        let quiet = self.last_asked.is_none_or(|last| now.duration_since(last) > 10 * PAUSE);
        self.last_asked = Some(now);
        quiet
    }

    fn answered(&mut self, took: Duration) {
        self.usual = (self.usual * 7 + took) / 8;
        self.next_pause = PAUSE;
        self.size = (self.size + 1).min(WITH_EACH * self.others);
    }

    fn unanswered(&mut self, now: Instant) {
        self.size /= 2;
        if self.size == 0 {
            self.size = usize::from(self.others > 0);
            self.paused_until = Some(now + self.next_pause);
            self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// How long to wait for an answer.
    fn patience(&self) -> Duration {
        (self.usual * LATE_AFTER).clamp(LEAST_PATIENCE, MOST_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(others: usize) -> Window {
        let mut window = Window::new(Duration::from_millis(40));
        window.set_others(others);
        window
    }

    #[test]
    fn frames_are_sent_to_nobody() {
        let now = Instant::now();
        assert_eq!(window(0).size(now), 0);
        let mut window = window(3);
        window.set_others(0);
        assert_eq!(window.size(now), 0);
        window.answered(Duration::from_millis(40));
        window.unanswered(now);
        assert_eq!(window.size(now + 2 * PAUSE), 0);
    }

    #[test]
    fn window_does_not_open_or_opens_too_far() {
        let mut window = window(3);
        let now = Instant::now();
        assert_eq!(window.size(now), 1, "one is tried");
        for _ in 0..20 {
            window.answered(Duration::from_millis(40));
        }
        assert_eq!(window.size(now), 6);
    }

    #[test]
    fn busy_others_are_asked_again_and_again() {
        let mut window = window(1);
        let now = Instant::now();
        window.answered(Duration::from_millis(40));
        assert_eq!(window.size(now), 2);
        window.unanswered(now);
        assert_eq!(window.size(now), 1);
        window.unanswered(now);
        assert_eq!(window.size(now), 0, "nobody answers");
        assert_eq!(window.size(now + PAUSE), 1, "and is tried again later");
        window.unanswered(now + PAUSE);
        assert_eq!(window.size(now + 2 * PAUSE), 0, "and then less often");
        assert_eq!(window.size(now + 3 * PAUSE), 1);
        window.answered(Duration::from_millis(40));
        window.unanswered(now + 3 * PAUSE);
        window.unanswered(now + 3 * PAUSE);
        assert_eq!(window.size(now + 4 * PAUSE), 1, "somebody had helped meanwhile");
    }

    #[test]
    fn patience_is_not_that_of_usual_answers() {
        let mut window = window(1);
        assert_eq!(window.patience(), Duration::from_millis(120), "three inferences");
        window.answered(Duration::from_millis(80));
        assert_eq!(window.patience(), Duration::from_millis(135));
        (0..100).for_each(|_| window.answered(Duration::from_secs(9)));
        assert_eq!(window.patience(), MOST_PATIENCE);
        (0..100).for_each(|_| window.answered(Duration::from_millis(1)));
        assert_eq!(window.patience(), LEAST_PATIENCE);
    }
}
