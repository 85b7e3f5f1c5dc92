//! What is shared by all daemons about cameras and models: configuration, the state of sources, announcements.

use std::collections::BTreeMap;

use peregrine_proto::{
    CameraConfig, CameraId, InFull, LossCount, SCHEMA, Size, SourceUri, losses_for, without_values,
};
use redis::Value;
use ring::{
    digest::{SHA256, digest},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Redis, StreamError, Wake, keys, lease::latest_real_ms, script, servers::Answer, value};

/// What a producer knows of a camera's source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default)]
pub struct SourceState {
    /// How it is doing.
    pub state: SourceHealth,
    /// What is wrong or waited for, in a sentence, credentials masked; empty for nothing.
    pub error: String,
    /// Size of the source picture.
    pub size: Option<Size>,
    /// Width of its pixels over their height; none from a producer that did not say.
    pub pixel_aspect: Option<f32>,
    /// Size of the analysed picture.
    pub analysed: Option<Size>,
    /// Frames per second that the source gives.
    pub fps: f64,
    /// Index of the last published frame in its source.
    pub position: Option<u64>,
    /// The `n` of the first frame published of this source.
    pub first_n: u64,
    /// Frames published of this source.
    pub published: u64,
    /// Frames of this source lost or left out before publishing, by reason, cumulative.
    pub lost: Vec<LossCount>,
    /// Tells one source from another, so that a position is never applied to another file; see [`fingerprint`].
    pub fingerprint: String,
    /// The producer.
    pub worker: String,
    /// When this was written, microseconds since the Unix epoch.
    pub updated_us: i64,
}

impl SourceState {
    /// Whether it was written of this source.
    pub fn is_of(&self, camera: &CameraId, uri: &SourceUri) -> bool {
        self.fingerprint == fingerprint(camera, uri, SCHEMA)
            || (!self.fingerprint.starts_with(HASHED) && uri.fits(&self.fingerprint))
    }
}

/// The prefix of a hash.
const HASHED: &str = "sha256:";

/// A source's fingerprint, as readers of this schema version know it: a hash of the camera's id and the whole address. It
/// stays in Redis, because who has it can try passwords on it. Before schema 3 it was the masked address.
#[allow(clippy::disallowed_methods, reason = "the hash stays beside the address itself")]
pub fn fingerprint(camera: &CameraId, uri: &SourceUri, schema: u16) -> String {
    if schema < 3 {
        return uri.to_string();
    }
    hashed(&[camera.as_str(), uri.in_full()].join("\0"))
}

fn hashed(text: &str) -> String {
    format!("{HASHED}{}", hex(digest(&SHA256, text.as_bytes()).as_ref()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How a source is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum SourceHealth {
    /// Being opened for the first time.
    #[default]
    Starting,
    /// Frames come.
    Live,
    /// Lost; trying again.
    Reconnecting,
    /// The file has ended.
    Ended,
    /// Cannot be opened, and trying again will not help.
    Failed,
}

/// What processors announce about a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelAnnouncement {
    /// The name by which it is known.
    pub name: String,
    /// Its input, pixels.
    pub input: Size,
    /// Class names by class id.
    pub classes: Vec<String>,
    /// Whether cameras that name no model use it.
    pub default: bool,
    /// When it was announced, microseconds since the Unix epoch.
    pub announced_at_us: i64,
}

/// A camera's configuration as it was read, to be replaced if nobody else does so first.
#[derive(Debug, Clone)]
pub struct StoredCamera {
    /// The configuration; none where it cannot be read.
    pub config: Option<CameraConfig>,
    json: String,
}

/// The cameras as they stand in Redis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cameras {
    /// Those whose configuration can be read, by id.
    pub cameras: BTreeMap<CameraId, CameraConfig>,
    /// Those whose configuration cannot, and why.
    pub broken: BTreeMap<String, String>,
}

impl Redis {
    /// All cameras. One that cannot be read does not hide the others.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn cameras(&self) -> Result<Cameras, StreamError> {
        let reply = self.state.run(redis::cmd("HGETALL").arg(keys::CAMERAS)).await?;
        let mut cameras = Cameras::default();
        for (id, json) in value::pairs(reply).unwrap_or_default() {
            let text = value::text(&json).unwrap_or_default();
            match serde_json::from_str::<CameraConfig>(text) {
                Ok(config) if config.id.as_str() == id => {
                    cameras.cameras.insert(config.id.clone(), config);
                }
                Ok(config) => {
                    cameras.broken.insert(id, format!("its configuration has the id {}", config.id));
                }
                Err(error) => {
                    let why = without_values(&error.to_string()).into_owned();
                    let why = if why.contains("unknown field") || why.contains("unknown variant") {
                        format!(
                            "its configuration has what release {} does not know: {why}",
                            env!("CARGO_PKG_VERSION")
                        )
                    } else {
                        format!("its configuration cannot be read: {why}")
                    };
                    cameras.broken.insert(id, why);
                }
            }
        }
        Ok(cameras)
    }

    /// One camera.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn camera(&self, id: &CameraId) -> Result<Option<CameraConfig>, StreamError> {
        let reply = self.state.run(redis::cmd("HGET").arg(keys::CAMERAS).arg(id.as_str())).await?;
        Ok(value::text(&reply).and_then(|json| serde_json::from_str(json).ok()))
    }

    /// Adds or replaces a camera and wakes those who run it. True when that changed anything.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn put_camera(&self, config: &CameraConfig) -> Result<bool, StreamError> {
        if self.camera(&config.id).await?.as_ref() == Some(config) {
            return Ok(false);
        }
        let json = json_of(config);
        self.reserve_new(&config.id).await?;
        self.state.run(redis::cmd("HSET").arg(keys::CAMERAS).arg(config.id.as_str()).arg(json)).await?;
        self.wake(&Wake::CameraChanged { camera: config.id.clone() }).await;
        Ok(true)
    }

    /// Adds or replaces a camera that stands in a configuration file, unless the file gave the very same before: what was
    /// changed or removed since then stays so. True when that changed anything.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn register_camera(&self, config: &CameraConfig) -> Result<bool, StreamError> {
        let (id, entry) = (config.id.as_str(), entry(config));
        let given = self.state.run(redis::cmd("HGET").arg(keys::REGISTERED).arg(id)).await?;
        let given = value::text(&given);
        if given == Some(entry.as_str()) {
            return Ok(false);
        }
        // The release before kept the entry itself.
        let same = given.and_then(|json| serde_json::from_str(json).ok()).as_ref() == Some(config);
        let changed = !same && self.put_camera(config).await?;
        self.state.run(redis::cmd("HSET").arg(keys::REGISTERED).arg(id).arg(&entry)).await?;
        Ok(changed)
    }

    /// Adds a camera and wakes those who run it. False when there is one of this name already.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn add_camera(&self, config: &CameraConfig) -> Result<bool, StreamError> {
        let json = json_of(config);
        self.reserve_new(&config.id).await?;
        let mut add = redis::cmd("HSETNX");
        add.arg(keys::CAMERAS).arg(config.id.as_str()).arg(json);
        let added = value::integer(&self.state.run(&add).await?) == Some(1);
        if added {
            self.wake(&Wake::CameraChanged { camera: config.id.clone() }).await;
        }
        Ok(added)
    }

    /// A camera as it stands, to be replaced; none where there is none of this name.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn stored_camera(&self, id: &CameraId) -> Result<Option<StoredCamera>, StreamError> {
        let reply = self.state.run(redis::cmd("HGET").arg(keys::CAMERAS).arg(id.as_str())).await?;
        let stored =
            |json: &str| StoredCamera { config: serde_json::from_str(json).ok(), json: json.to_owned() };
        Ok(value::text(&reply).map(stored))
    }

    /// Replaces a camera and wakes those who run it. False when somebody changed or removed it since it was read.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn replace_camera(
        &self,
        stored: &StoredCamera,
        config: &CameraConfig,
    ) -> Result<bool, StreamError> {
        let json = json_of(config);
        let args = [config.id.as_str().as_bytes(), stored.json.as_bytes(), json.as_bytes()];
        let reply = script::REPLACE.run(&self.state, &[keys::CAMERAS.to_owned()], &args).await?;
        let replaced = value::integer(&reply) == Some(1);
        if replaced && stored.json != json {
            self.wake(&Wake::CameraChanged { camera: config.id.clone() }).await;
        }
        Ok(replaced)
    }

    /// Removes a camera, and forgets how far its source was read. Its results stay. False when there was none.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn remove_camera(&self, id: &CameraId) -> Result<bool, StreamError> {
        let reply = self.state.run(redis::cmd("HDEL").arg(keys::CAMERAS).arg(id.as_str())).await?;
        self.state.run(redis::cmd("DEL").arg(keys::source(id))).await?;
        self.wake(&Wake::CameraChanged { camera: id.clone() }).await;
        Ok(value::integer(&reply) == Some(1))
    }

    /// A tag that is the same for the same configuration, credentials included; whoever sees it can try no passwords on
    /// it, because its key is known here only.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn config_tag(&self, config: &CameraConfig) -> Result<String, StreamError> {
        const TAG: usize = 12;
        let mut read = redis::cmd("GET");
        read.arg(keys::TAG_KEY);
        let mut key = value::bytes(self.state.run(&read).await?);
        if key.is_none() {
            let mut made = [0; 32];
            // Where the system has no random numbers, a key that nobody knows is not to be had.
            SystemRandom::new().fill(&mut made).map_err(|_| StreamError::Random)?;
            self.state.run(redis::cmd("SET").arg(keys::TAG_KEY).arg(&made[..]).arg("NX")).await?;
            key = value::bytes(self.state.run(&read).await?);
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key.unwrap_or_default());
        let tag = hmac::sign(&key, json_of(config).as_bytes());
        Ok(hex(&tag.as_ref()[..TAG]))
    }

    /// Writes what the producer knows of a source.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn put_source_state(&self, camera: &CameraId, state: &SourceState) -> Result<(), StreamError> {
        let lost = losses_for(&state.lost, self.schema());
        let state = SourceState { lost, ..state.clone() };
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(state) else { return Ok(()) };
        let mut command = redis::cmd("HSET");
        command.arg(keys::source(camera));
        for (name, value) in &fields {
            command.arg(name).arg(value.to_string());
        }
        self.state.run(&command).await.map(drop)
    }

    /// What producers know of these sources; none where no producer has had the camera, or where its node of a cluster
    /// does not answer while others do.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn source_states(&self, cameras: &[CameraId]) -> Result<Vec<Option<SourceState>>, StreamError> {
        let mut commands = redis::pipe();
        for camera in cameras {
            commands.cmd("HGETALL").arg(keys::source(camera));
        }
        let parse = |answer: Option<Answer>| {
            let pairs = value::pairs(answer?.value).unwrap_or_default();
            if pairs.is_empty() {
                return None;
            }
            let json = |value: &Value| serde_json::from_str(value::text(value)?).ok();
            let fields = pairs.iter().filter_map(|(name, value)| Some((name.clone(), json(value)?)));
            serde_json::from_value(serde_json::Value::Object(fields.collect())).ok()
        };
        Ok(self.state.survey(&commands).await?.into_iter().map(parse).collect())
    }

    /// Announces a model, so that producers can fit their pictures to its input.
    ///
    /// # Errors
    /// When the server does not answer or is full.
    pub async fn announce_model(&self, model: &ModelAnnouncement) -> Result<(), StreamError> {
        let json = serde_json::to_string(model).unwrap_or_default();
        self.state.run(redis::cmd("HSET").arg(keys::MODELS).arg(&model.name).arg(json)).await?;
        self.wake(&Wake::ModelAnnounced).await;
        Ok(())
    }

    /// The announced models, the one announced last first. One that was announced in the future, by a clock that was wrong
    /// or has been set back since, comes last.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn models(&self) -> Result<Vec<ModelAnnouncement>, StreamError> {
        let latest_ms = latest_real_ms(self.state.time_us(keys::MODELS).await? / 1000);
        let reply = self.state.run(redis::cmd("HGETALL").arg(keys::MODELS)).await?;
        let mut models: Vec<ModelAnnouncement> =
            value::pairs(reply).unwrap_or_default().iter().filter_map(|(_, json)| parse_json(json)).collect();
        let announced = |model: &ModelAnnouncement| {
            Some(model.announced_at_us).filter(|announced_us| announced_us / 1000 <= latest_ms)
        };
        models.sort_by_key(|model| std::cmp::Reverse(announced(model)));
        Ok(models)
    }
}

fn parse_json<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_str(value::text(value)?).ok()
}

/// A camera as it is stored: here alone its address stands in full.
#[allow(clippy::disallowed_methods, reason = "this is the registry")]
fn json_of(config: &CameraConfig) -> String {
    serde_json::to_string(&config.in_full()).unwrap_or_default()
}

/// The hash of a camera's entry in a file.
#[allow(clippy::disallowed_methods, reason = "it is hashed")]
fn entry(config: &CameraConfig) -> String {
    hashed(&given(&config.in_full()).to_string())
}

/// What a camera has beside its id that is not the default: releases before and after may know other keys.
pub fn given(config: &InFull) -> serde_json::Value {
    let mut given = value_of(config);
    let least = serde_json::json!({ "id": given["id"], "source": { "uri": "" } });
    let default = serde_json::from_value::<CameraConfig>(least).ok();
    without_defaults(&mut given, &value_of(&default));
    given
}

/// By way of text, which has 0.35 for what would be 0.3499999940395355.
fn value_of(config: &impl Serialize) -> serde_json::Value {
    serde_json::to_string(config).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

fn without_defaults(given: &mut serde_json::Value, default: &serde_json::Value) {
    if let (Some(given), Some(default)) = (given.as_object_mut(), default.as_object()) {
        given.retain(|key, value| {
            let same = default.get(key);
            if let Some(same) = same {
                without_defaults(value, same);
            }
            same != Some(value) && !value.as_object().is_some_and(serde_json::Map::is_empty)
        });
    }
}
