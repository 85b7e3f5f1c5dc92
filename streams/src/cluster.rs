//! The nodes of a cluster: which of them serves a key, also while that changes.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::seq::SliceRandom;
use redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, ServerErrorKind, Value};
use tokio::task::JoinSet;

use crate::{
    StreamError,
    address::moved_to,
    link::{Link, Target, refusal},
    servers::{Answer, key_of, timed},
    value,
};

const SLOTS: u16 = 16384;
/// How often a command is passed on before the cluster is taken to be in disorder.
const MOST_REDIRECTS: usize = 5;

/// A node, as the cluster announces it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    host: String,
    port: u16,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The nodes of a cluster, and a connection to each that is needed.
pub(crate) struct Cluster {
    links: Links,
    topology: Arc<Topology>,
}

impl Cluster {
    /// `url` is the address to show, masked.
    pub(crate) fn new(seeds: Vec<ConnectionInfo>, url: &str) -> Self {
        let links =
            || Links { url: url.to_owned(), seeds: seeds.clone(), block: None, links: Mutex::default() };
        let topology = Topology {
            links: links(),
            owners: RwLock::default(),
            stale: AtomicBool::new(true),
            asking: tokio::sync::Mutex::default(),
        };
        Self { links: links(), topology: Arc::new(topology) }
    }

    /// Connections of their own to the same nodes, for commands that block up to `block`.
    pub(crate) fn blocking(&self, block: Duration) -> Self {
        let Links { url, seeds, .. } = &self.links;
        let links =
            Links { url: url.clone(), seeds: seeds.clone(), block: Some(block), links: Mutex::default() };
        Self { links, topology: self.topology.clone() }
    }

    pub(crate) fn is_down(&self, key: &[u8]) -> bool {
        let node = self.topology.owner(slot(key));
        node.and_then(|node| self.links.get(&node).ok()).is_some_and(|link| link.is_down())
    }

    /// Sends a command to where the key lives.
    pub(crate) async fn send(&self, key: &[u8], command: &Cmd) -> Result<Value, StreamError> {
        let (node, link) = self.link_of(key).await?;
        let answer = self.watch(link.send(command).await)?;
        self.follow(node, command, answer).await
    }

    /// Sends commands of one slot together.
    pub(crate) async fn send_all(&self, key: &[u8], commands: &Pipeline) -> Result<Vec<Value>, StreamError> {
        let (node, link) = self.link_of(key).await?;
        let mut answers = self.watch(link.send_all(commands).await)?;
        for (command, answer) in commands.cmd_iter().zip(&mut answers) {
            *answer = self.follow(node.clone(), command, std::mem::take(answer)).await?;
        }
        Ok(answers)
    }

    /// Sends a command to each node that serves slots and answers.
    pub(crate) async fn each(&self, command: &Cmd) -> Result<Vec<Value>, StreamError> {
        self.link_of(crate::keys::CAMERAS.as_bytes()).await?;
        let mut answers = Vec::new();
        for node in self.topology.nodes() {
            let link = self.links.get(&node)?;
            if link.is_down() {
                continue;
            }
            match self.watch(link.send(command).await) {
                Ok(answer) => answers.push(answer),
                Err(error) if error.is_transient() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answers)
    }

    /// Sends commands of many slots, those of a node together, to all nodes at once.
    pub(crate) async fn survey(&self, commands: &Pipeline) -> Result<Vec<Option<Answer>>, StreamError> {
        let mut answers: Vec<Option<Answer>> = commands.cmd_iter().map(|_| None).collect();
        let mut problem = None;
        let mut by_node: HashMap<Node, (Arc<Link>, Vec<usize>)> = HashMap::new();
        for (at, command) in commands.cmd_iter().enumerate() {
            match self.link_of(key_of(command).unwrap_or_default()).await {
                Ok((node, link)) => by_node.entry(node).or_insert_with(|| (link, Vec::new())).1.push(at),
                Err(error) => problem = Some(error),
            }
        }
        // With nobody to wait for, the wait is for the one that is down: its pause spaces our attempts.
        let all_down = by_node.values().all(|(link, _)| link.is_down());
        let mut asked = JoinSet::new();
        for (node, (link, places)) in by_node {
            if link.is_down() && !all_down {
                continue;
            }
            let mut batch = redis::pipe();
            let wanted = |(at, command): (usize, &Cmd)| places.contains(&at).then(|| command.clone());
            commands.cmd_iter().enumerate().filter_map(wanted).for_each(|command| {
                batch.add_command(command);
            });
            asked.spawn(async move {
                let answers = timed(&link, &batch).await;
                (node, places, batch, answers)
            });
        }
        while let Some(Ok((node, places, batch, answered))) = asked.join_next().await {
            match self.watch(answered) {
                Ok(batch_answers) => {
                    for ((at, command), answer) in places.into_iter().zip(batch.cmd_iter()).zip(batch_answers)
                    {
                        let Answer { now_us, value } = answer;
                        match self.follow(node.clone(), command, value).await.and_then(|v| self.served(v)) {
                            Ok(value) => answers[at] = Some(Answer { now_us, value }),
                            Err(error) => problem = Some(error),
                        }
                    }
                }
                Err(error) if error.is_transient() => problem = Some(error),
                Err(error) => return Err(error),
            }
        }
        match problem {
            Some(problem) if answers.iter().all(Option::is_none) => Err(problem),
            Some(problem) => {
                tracing::debug!(error = %problem, "some nodes of the cluster do not answer");
                Ok(answers)
            }
            // All went down between the two looks.
            None if answers.iter().all(Option::is_none) => Err(self.disorder("no node answers".into())),
            None => Ok(answers),
        }
    }

    /// The node where a key lives. Asks the cluster only when the map is empty or that node is away: the commands of
    /// healthy nodes do not wait for others.
    async fn link_of(&self, key: &[u8]) -> Result<(Node, Arc<Link>), StreamError> {
        let slot = slot(key);
        if let Some(node) = self.topology.owner(slot) {
            let link = self.links.get(&node)?;
            if !(link.is_away() && self.topology.is_stale()) {
                return Ok((node, link));
            }
        }
        let asked = self.topology.refresh(None).await;
        match (self.topology.owner(slot), asked) {
            (Some(node), _) => {
                let link = self.links.get(&node)?;
                Ok((node, link))
            }
            (None, Err(error)) => Err(error),
            (None, Ok(())) => {
                self.topology.suspect();
                Err(self.disorder(format!("no node serves slot {slot}")))
            }
        }
    }

    /// Takes note of a node that does not answer: another may serve its slots now.
    fn watch<T>(&self, answered: Result<T, StreamError>) -> Result<T, StreamError> {
        if answered.as_ref().is_err_and(StreamError::is_transient) {
            self.topology.suspect();
        }
        answered
    }

    /// Follows a command to where a node passed it on. It was not executed there, so sending it again is safe.
    async fn follow(&self, mut from: Node, command: &Cmd, mut answer: Value) -> Result<Value, StreamError> {
        for _ in 0..MOST_REDIRECTS {
            let Value::ServerError(error) = &answer else { return Ok(answer) };
            let to = error.details().and_then(|details| parse_redirect(details, &from));
            match (error.kind(), to) {
                (Some(ServerErrorKind::Moved), Some(to)) => {
                    self.topology.suspect();
                    // The node named knows better; if it does not answer, the command says so.
                    let _ = self.topology.refresh(Some(&to)).await;
                    answer = self.watch(self.links.get(&to)?.send(command).await)?;
                    from = to;
                }
                (Some(ServerErrorKind::Ask), Some(to)) => {
                    // While a slot migrates, its keys do one by one.
                    let mut asking = redis::pipe();
                    asking.cmd("ASKING");
                    asking.add_command(command.clone());
                    let answers = self.watch(self.links.get(&to)?.send_all(&asking).await)?;
                    answer = answers.into_iter().next_back().unwrap_or_default();
                    from = to;
                }
                (Some(ServerErrorKind::ClusterDown), _) => {
                    self.topology.suspect();
                    return Ok(answer);
                }
                _ => return Ok(answer),
            }
        }
        Err(self.disorder(format!("its nodes passed a command on {MOST_REDIRECTS} times")))
    }

    /// Tells a node that cannot serve now from one that answers, if only that there is no such key.
    fn served(&self, answer: Value) -> Result<Value, StreamError> {
        if let Value::ServerError(error) = &answer {
            let error = refusal(&self.links.url, error.clone().into(), "a question".into());
            if error.is_transient() {
                return Err(error);
            }
        }
        Ok(answer)
    }

    fn disorder(&self, why: String) -> StreamError {
        StreamError::NotServing { url: self.links.url.clone(), why }
    }
}

/// Which node serves which slots.
struct Topology {
    /// For asking only, so that it never waits behind pixels.
    links: Links,
    /// Where several serve a slot, the first counts.
    owners: RwLock<Vec<Owner>>,
    /// The map may be wrong: a node does not answer, or passed a command on.
    stale: AtomicBool,
    /// One asks at a time.
    asking: tokio::sync::Mutex<()>,
}

/// The slots from `first` to `last` live on this node.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    first: u16,
    last: u16,
    node: Node,
}

impl Topology {
    fn owner(&self, slot: u16) -> Option<Node> {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        owners.iter().find(|o| (o.first..=o.last).contains(&slot)).map(|o| o.node.clone())
    }

    fn nodes(&self) -> HashSet<Node> {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        owners.iter().map(|owner| owner.node.clone()).collect()
    }

    fn suspect(&self) {
        self.stale.store(true, Ordering::Relaxed);
    }

    fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// Asks one node after the other, beginning with the one given, which node serves what, until every slot is known.
    async fn refresh(&self, first: Option<&Node>) -> Result<(), StreamError> {
        let _one = self.asking.lock().await;
        if !self.is_stale() {
            return Ok(());
        }
        // Before the question: what turns up meanwhile is a reason to ask again.
        self.stale.store(false, Ordering::Relaxed);
        let mut owners: Option<Vec<Owner>> = None;
        let mut problem = None;
        for node in self.to_ask(first) {
            let link = self.links.get(&node)?;
            if link.is_down() {
                continue;
            }
            match ask(&link, &node).await {
                Ok(known) => {
                    let owners = owners.get_or_insert_default();
                    owners.extend(known);
                    if cover_all_slots(owners) {
                        break;
                    }
                    // A node learns of the others by and by, and some slots may be nobody's: the next may know more.
                }
                Err(error) => problem = Some(error),
            }
        }
        let Some(owners) = owners else {
            self.suspect();
            return Err(problem.unwrap_or_else(|| StreamError::Unreachable {
                url: self.links.url.clone(),
                why: "no node answers".into(),
            }));
        };
        *self.owners.write().unwrap_or_else(PoisonError::into_inner) = owners;
        Ok(())
    }

    /// All nodes known, the one given first, the others in random order: any of them may be cut off from the rest.
    fn to_ask(&self, first: Option<&Node>) -> Vec<Node> {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        let known = owners.iter().map(|owner| owner.node.clone());
        let seeds = self.links.seeds.iter().filter_map(|seed| match seed.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                Some(Node { host: host.clone(), port: *port })
            }
            _ => None,
        });
        let mut nodes: Vec<Node> = Vec::new();
        for node in known.chain(seeds) {
            if !nodes.contains(&node) && Some(&node) != first {
                nodes.push(node);
            }
        }
        nodes.shuffle(&mut rand::rng());
        first.cloned().into_iter().chain(nodes).collect()
    }
}

/// A connection to each node, made when it is first needed.
struct Links {
    /// The address as it was given, masked.
    url: String,
    seeds: Vec<ConnectionInfo>,
    /// How long commands on these may block.
    block: Option<Duration>,
    links: Mutex<HashMap<Node, Arc<Link>>>,
}

impl Links {
    fn get(&self, node: &Node) -> Result<Arc<Link>, StreamError> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(node) {
            return Ok(link.clone());
        }
        let address =
            |why: &dyn fmt::Display| StreamError::Address { url: self.url.clone(), why: why.to_string() };
        let seed = self.seeds.first().ok_or_else(|| address(&"a host is missing"))?;
        let client = Client::open(moved_to(seed, &node.host, node.port)).map_err(|e| address(&e))?;
        let link = Link::new(Target::Server(client), format!("{node}, a node of {}", self.url));
        let link = Arc::new(match self.block {
            Some(block) => link.blocking(block),
            None => link,
        });
        links.insert(node.clone(), link.clone());
        Ok(link)
    }
}

/// The node's view of who serves what.
async fn ask(link: &Link, node: &Node) -> Result<Vec<Owner>, StreamError> {
    match link.send(redis::cmd("CLUSTER").arg("SLOTS")).await? {
        Value::ServerError(error)
            if error.details().is_some_and(|d| d.contains("cluster support disabled")) =>
        {
            let (url, form) = (link.url().to_owned(), "redis://host:port");
            Err(StreamError::Kind { url, found: "no node of a cluster but a single server", form })
        }
        Value::ServerError(error) => Err(link.refusal(error, "CLUSTER SLOTS".into())),
        answer => {
            let ranges = value::list(answer).unwrap_or_default();
            Ok(ranges.into_iter().filter_map(|range| parse_owner(range, node)).collect())
        }
    }
}

fn cover_all_slots(owners: &[Owner]) -> bool {
    let mut ranges: Vec<(u16, u16)> = owners.iter().map(|owner| (owner.first, owner.last)).collect();
    ranges.sort_unstable();
    let mut covered = 0;
    for (first, last) in ranges {
        if first > covered {
            return false;
        }
        covered = covered.max(last.saturating_add(1));
    }
    covered >= SLOTS
}

/// First slot, last slot, then the master and its replicas, each with host and port first.
fn parse_owner(range: Value, asked: &Node) -> Option<Owner> {
    let mut parts = value::list(range)?.into_iter();
    let mut slot =
        || parts.next().as_ref().and_then(value::unsigned).and_then(|slot| u16::try_from(slot).ok());
    let (first, last) = (slot()?, slot()?);
    let master = value::list(parts.next()?)?;
    let port = master.get(1).and_then(value::unsigned).and_then(|port| u16::try_from(port).ok())?;
    let host = master.first().and_then(value::text).unwrap_or_default();
    Some(Owner { first, last, node: Node { host: host_or(host, asked), port } })
}

/// `slot host:port`
fn parse_redirect(details: &str, from: &Node) -> Option<Node> {
    let (host, port) = details.split(' ').nth(1)?.rsplit_once(':')?;
    Some(Node { host: host_or(host, from), port: port.parse().ok()? })
}

/// A node that does not know its own name leaves it out: it is where it was asked.
fn host_or(host: &str, asked: &Node) -> String {
    if host.is_empty() || host == "?" { asked.host.clone() } else { host.to_owned() }
}

/// The slot of a key: of what stands between its first braces, else of all of it.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&b| b == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&b| b == b'}')?;
        (close > 0).then_some(&rest[..close])
    });
    crc16(tag.unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_differ_from_those_of_redis() {
        // As CLUSTER KEYSLOT answers.
        for (key, expected) in
            [("123456789", 12739), ("foo", 12182), ("{foo}bar", 12182), ("a{foo}{b}", 12182), ("{}foo", 9500)]
        {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"peregrine:{c}:frames"), slot(b"c"));
    }

    #[test]
    fn gap_between_slots_is_missed() {
        let owners = |ranges: &[(u16, u16)]| -> Vec<Owner> {
            let node = Node { host: "h".into(), port: 1 };
            ranges.iter().map(|&(first, last)| Owner { first, last, node: node.clone() }).collect()
        };
        for (ranges, all) in [
            (&[][..], false),
            (&[(0, 16383)], true),
            (&[(8192, 16383), (0, 8191)], true),
            (&[(0, 9000), (1, 2), (8192, 16383)], true),
            (&[(1, 16383)], false),
            (&[(0, 16382)], false),
            (&[(0, 8190), (8192, 16383)], false),
        ] {
            assert_eq!(cover_all_slots(&owners(ranges)), all, "{ranges:?}");
        }
    }

    #[test]
    fn redirect_is_misread() {
        let from = Node { host: "h".into(), port: 1 };
        let node = |host: &str, port| Some(Node { host: host.into(), port });
        assert_eq!(parse_redirect("3999 127.0.0.1:6381", &from), node("127.0.0.1", 6381));
        assert_eq!(parse_redirect("3999 ::1:6381", &from), node("::1", 6381));
        assert_eq!(parse_redirect("3999 :6381", &from), node("h", 6381));
        assert_eq!(parse_redirect("nonsense", &from), None);
    }
}
