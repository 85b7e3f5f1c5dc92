//! The scripts that keep a camera's keys consistent. Each is one file, sent by its hash.
//!
//! All carry `allow-oom`: a processor that cannot commit would never free memory.

use std::sync::LazyLock;

use redis::Value;

use crate::{StreamError, servers::Servers};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal, $operation:literal;)*) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file))));)*

        /// What the script with this hash, or this code, is for.
        pub(crate) fn operation(script: &[u8]) -> &'static str {
            $(if $name.hash.as_bytes() == script || $name.code.as_bytes() == script {
                return $operation;
            })*
            "state"
        }
    };
}

scripts! {
    /// Takes a lease.
    ACQUIRE = "acquire.lua", "lease";
    /// Notes that work on a frame begins.
    ATTEMPT = "attempt.lua", "lease";
    /// Writes result, checkpoint and progress together.
    COMMIT = "commit.lua", "commit";
    /// Extends a lease.
    RENEW = "renew.lua", "lease";
    /// Gives a lease up.
    RELEASE = "release.lua", "lease";
    /// Replaces what nobody else has changed meanwhile.
    REPLACE = "replace.lua", "state";
    /// Asks a holder to hand over.
    WANT = "want.lua", "lease";
}

pub(crate) struct Script {
    code: &'static str,
    hash: String,
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, hash: redis::Script::new(code).get_hash().to_owned() }
    }

    /// By which the server knows it.
    #[cfg(test)]
    pub(crate) fn hash(&self) -> &str {
        &self.hash
    }

    /// Runs the script; the server learns it where it does not know it yet.
    pub(crate) async fn run(
        &self,
        servers: &Servers,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<Value, StreamError> {
        let call = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(keys.len());
            keys.iter().for_each(|key| {
                command.arg(key);
            });
            args.iter().for_each(|arg| {
                command.arg(*arg);
            });
            command
        };
        match servers.run(&call("EVALSHA", &self.hash)).await? {
            Value::ServerError(_) => match servers.run(&call("EVAL", self.code)).await? {
                Value::ServerError(error) => Err(servers.refusal(error, "EVAL".into())),
                value => Ok(value),
            },
            value => Ok(value),
        }
    }
}
