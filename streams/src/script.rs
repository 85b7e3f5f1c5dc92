//! The scripts that keep a camera's keys consistent. Each is one file, sent by its hash.
//!
//! All carry `allow-oom`: a processor that cannot commit would never free memory.

use std::sync::LazyLock;

use redis::Value;

use crate::{Operation, StreamError, servers::Servers};

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $file:literal, $operation:ident;)*) => {
        $($(#[$doc])* pub(crate) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(include_str!(concat!("scripts/", $file))));)*

        /// What the script with this hash, or this code, is for.
        pub(crate) fn operation(script: &[u8]) -> Operation {
            $(if $name.hash.as_bytes() == script || $name.code.as_bytes() == script {
                return Operation::$operation;
            })*
            Operation::State
        }

        /// A script as it is sent, by its file's name: for a run that swaps it, and a test that moves its clock.
        #[doc(hidden)]
        pub fn script_text(file: &str) -> Option<&'static str> {
            $(if file == $file {
                return Some(&$name.code);
            })*
            None
        }
    };
}

/// Stands in a lease's field `want` where only workers that read the newest schema may have the camera. Those of the
/// release before take it for one for whom the camera is kept.
pub(crate) const RESERVED: &str = "reserved-for-schema-3";

scripts! {
    /// Says who announces itself and reads no newest schema, and raises the version that is written.
    AGREE = "agree.lua", State;
    /// Keeps a camera from workers that do not read the newest schema.
    RESERVE = "reserve.lua", Lease;
    /// Takes a lease.
    ACQUIRE = "acquire.lua", Lease;
    /// Notes that work on a frame begins.
    ATTEMPT = "attempt.lua", Lease;
    /// Writes result, checkpoint and progress together.
    COMMIT = "commit.lua", Commit;
    /// Extends a lease.
    RENEW = "renew.lua", Lease;
    /// Gives a lease up.
    RELEASE = "release.lua", Lease;
    /// Replaces what nobody else has changed meanwhile.
    REPLACE = "replace.lua", State;
    /// Asks a holder to hand over.
    WANT = "want.lua", Lease;
}

pub(crate) struct Script {
    code: String,
    hash: String,
}

impl Script {
    fn new(code: &str) -> Self {
        let common = include_str!("scripts/common.lua");
        let code = code.replacen('\n', &format!("\nlocal RESERVED = '{RESERVED}'\n{common}"), 1);
        Self { hash: redis::Script::new(&code).get_hash().to_owned(), code }
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
            Value::ServerError(_) => match servers.run(&call("EVAL", &self.code)).await? {
                Value::ServerError(error) => Err(servers.refusal(error, "EVAL".into())),
                value => Ok(value),
            },
            value => Ok(value),
        }
    }
}
