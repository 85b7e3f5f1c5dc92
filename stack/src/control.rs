//! Changes a running stack from another terminal: a socket beside it takes one command a line and answers in text.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, bail};

use crate::Stack;

/// Longest command.
const MOST_BYTES: u64 = 1024;
/// In the folder of a stack: tells where its socket is.
const POINTER: &str = "control";

/// Serves commands for as long as the stack lives.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(stack: &Arc<Stack>) -> anyhow::Result<()> {
    let socket = stack.sockets().join("control.sock");
    let listener =
        UnixListener::bind(&socket).with_context(|| format!("cannot make {}", socket.display()))?;
    let pointer = stack.folder().join(POINTER);
    crate::write_private(&pointer, &socket.display().to_string())
        .with_context(|| format!("cannot write {}", pointer.display()))?;
    // Not to keep the stack alive: its end ends the socket, and then this thread.
    let stack = Arc::downgrade(stack);
    thread::Builder::new().name("control".into()).spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Some(stack) = stack.upgrade() else { return };
            let answer = match hear(&stream).and_then(|command| obey(&stack, &command)) {
                Ok(text) => format!("ok\n{text}"),
                Err(error) => format!("failed\n{error:#}\n"),
            };
            drop(stack);
            let _ = (&stream).write_all(answer.as_bytes());
        }
    })?;
    Ok(())
}

fn hear(stream: &UnixStream) -> anyhow::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(Duration::from_secs(2)))?;
    let mut line = String::new();
    BufReader::new(stream.take(MOST_BYTES)).read_line(&mut line)?;
    Ok(line)
}

fn obey(stack: &Stack, command: &str) -> anyhow::Result<String> {
    const KNOWN: &str = "known are: status, scale processor=K, stop NAME, start NAME, restart NAME";
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["status"] => {}
        ["scale", what] => {
            let number = what.strip_prefix("processor=").and_then(|number| number.parse().ok());
            stack.scale(number.with_context(|| format!("`{what}` should look like processor=2"))?)?;
        }
        ["stop", name] => stack.stop(name)?,
        ["start", name] => stack.resume(name)?,
        ["restart", name] => stack.restart(name)?,
        _ => bail!("`{}` is no command; {KNOWN}", command.trim()),
    }
    Ok(status(stack))
}

/// A line a process.
fn status(stack: &Stack) -> String {
    let mut text = String::new();
    for process in stack.processes() {
        let state = match process.pid {
            Some(pid) => format!("runs, pid {pid}"),
            None if process.wanted => "is being started".into(),
            None => "stopped".into(),
        };
        let restarts = if process.restarts > 0 {
            format!(", started again {} times", process.restarts)
        } else {
            String::new()
        };
        let admin = process.admin.map(|admin| format!(", http://{admin}/metrics")).unwrap_or_default();
        text += &format!("{:14} {state}{restarts}{admin}\n", process.name);
    }
    text
}

/// Sends a command to the stack that runs in this folder, and returns its answer.
///
/// # Errors
/// When none runs there, or with what it says went wrong.
pub fn send(folder: &Path, command: &str) -> anyhow::Result<String> {
    let none = || anyhow::anyhow!("no demo runs in {}: start one with ./dev demo", folder.display());
    let socket: PathBuf = fs::read_to_string(folder.join(POINTER)).map_err(|_| none())?.into();
    let mut stream = UnixStream::connect(socket).map_err(|_| none())?;
    stream.write_all(format!("{command}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once('\n') {
        Some(("ok", text)) => Ok(text.into()),
        Some((_, text)) => bail!("{}", text.trim_end()),
        None => bail!("the demo ended before it answered"),
    }
}
