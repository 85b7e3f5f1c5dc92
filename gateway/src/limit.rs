//! How much one address may ask for: connections at once, and writes a second.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use axum::http::{HeaderValue, StatusCode, header};

use crate::rest::Refused;

/// Writes that may come at once, as seconds of the allowed rate.
const BURST_S: f64 = 3.0;
/// Callers that are remembered; the limit is one for all newcomers together when there are more.
const MOST_CALLERS: usize = 10_000;

/// One network: an IPv4 address, or the 64 bits of an IPv6 address that one customer has all to himself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 => v4,
    }
}

/// Counts the open connections of each address.
#[derive(Debug)]
pub(crate) struct Addresses {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Addresses {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for one more connection of this address; none where it has as many as it may.
    pub(crate) fn place(self: &Arc<Self>, address: IpAddr) -> Option<AddressPlace> {
        let address = network(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(address).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(open);
        Some(AddressPlace { addresses: self.clone(), address })
    }
}

/// A connection of an address; counted until it is dropped.
#[derive(Debug)]
pub(crate) struct AddressPlace {
    addresses: Arc<Addresses>,
    address: IpAddr,
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let mut open = self.addresses.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// Limits writes by address and token: a bucket for each, which fills at the allowed rate.
#[derive(Debug)]
pub(crate) struct Writes {
    per_second: f64,
    buckets: Mutex<HashMap<Key, Bucket>>,
}

/// An address and a token's name; none for all who found no place of their own.
type Key = Option<(IpAddr, Option<String>)>;

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Writes that may still come at once.
    left: f64,
    at: Instant,
}

impl Writes {
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, buckets: Mutex::default() }
    }

    /// Takes one write.
    ///
    /// # Errors
    /// When there were too many lately; the answer says when to try again.
    pub(crate) fn take(&self, address: IpAddr, token: Option<&str>) -> Result<(), Refused> {
        self.take_at(Instant::now(), Some((network(address), token.map(str::to_owned)))).map_err(|wait_s| {
            let wait_s = wait_s.ceil().max(1.0) as u64;
            let text =
                format!("too many writes: at most {} a second; try again in {wait_s} s", self.per_second);
            Refused::new(StatusCode::TOO_MANY_REQUESTS, text)
                .with(header::RETRY_AFTER, HeaderValue::from(wait_s))
        })
    }

    /// Fails with the seconds until there is room again.
    fn take_at(&self, now: Instant, key: Key) -> Result<(), f64> {
        let most = (self.per_second * BURST_S).max(1.0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_CALLERS && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| bucket.filled(now, self.per_second) < most);
        }
        let key = if buckets.len() >= MOST_CALLERS && !buckets.contains_key(&key) { None } else { key };
        let bucket = buckets.entry(key).or_insert(Bucket { left: most, at: now });
        let left = bucket.filled(now, self.per_second).min(most);
        if left < 1.0 {
            return Err((1.0 - left) / self.per_second);
        }
        *bucket = Bucket { left: left - 1.0, at: now };
        Ok(())
    }
}

impl Bucket {
    fn filled(&self, now: Instant, per_second: f64) -> f64 {
        self.left + now.saturating_duration_since(self.at).as_secs_f64() * per_second
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(last: u8, token: Option<&str>) -> Key {
        Some((IpAddr::from([10, 0, 0, last]), token.map(str::to_owned)))
    }

    #[test]
    fn writes_are_limited_by_other_callers_or_for_ever() {
        let writes = Writes::new(2.0);
        let now = Instant::now();
        for _ in 0..6 {
            assert!(writes.take_at(now, key(1, None)).is_ok());
        }
        assert_eq!(writes.take_at(now, key(1, None)), Err(0.5));
        assert!(writes.take_at(now, key(2, None)).is_ok());
        assert!(writes.take_at(now, key(1, Some("other"))).is_ok());
        let later = now + Duration::from_millis(500);
        assert!(writes.take_at(later, key(1, None)).is_ok());
        assert!(writes.take_at(later, key(1, None)).is_err());
    }

    #[test]
    fn many_callers_grow_the_memory_or_pass_the_limit() {
        let writes = Writes::new(1.0);
        let now = Instant::now();
        let caller = |n: u32| Some((IpAddr::from(n.to_be_bytes()), None));
        for n in 0..MOST_CALLERS as u32 + 100 {
            let _ = writes.take_at(now, caller(n));
        }
        assert!(writes.buckets.lock().unwrap().len() <= MOST_CALLERS + 1);
        assert!(writes.take_at(now, caller(u32::MAX)).is_err(), "newcomers share one bucket");
        assert!(writes.take_at(now + Duration::from_secs(9), caller(u32::MAX)).is_ok());
    }

    #[test]
    fn address_keeps_its_places_or_takes_those_of_others() {
        let addresses = Addresses::new(2);
        let [a, b] = ["2001:db8::1", "2001:db8:0:1::1"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = addresses.place(a);
        let neighbour = addresses.place("2001:db8::ffff".parse().unwrap());
        assert!(first.is_some() && neighbour.is_some());
        assert!(addresses.place(a).is_none());
        assert!(addresses.place(b).is_some());
        drop(first);
        assert!(addresses.place(a).is_some());
        drop(neighbour);
        assert!(addresses.open.lock().unwrap().is_empty());
    }
}
