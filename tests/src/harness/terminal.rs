//! A program on a terminal of its own, as somebody who sits there sees it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    libc,
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, tcgetattr},
    },
    unistd::{Pid, setsid},
};
use vt100::Parser;

use super::pace::patience;

/// A terminal and the program on it; killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    screen: Arc<Mutex<Parser>>,
    /// Held so that it can be looked at when the program has ended.
    line: OwnedFd,
}

/// How a terminal is left.
#[derive(Debug, PartialEq, Eq)]
pub struct Manners {
    /// Lines are read when they are ended, and what is typed is shown.
    pub cooked: bool,
    /// The screen is the one that was there before.
    pub own_screen: bool,
    /// The cursor is to be seen.
    pub cursor: bool,
}

/// As a shell leaves it, and wants it back.
pub const RESTORED: Manners = Manners {
    cooked: true,
    own_screen: true,
    cursor: true,
};

fn size(columns: u16, lines: u16) -> Winsize {
    Winsize {
        ws_row: lines,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Terminal {
    /// Starts `command` on a terminal of this size.
    pub fn start(command: &mut Command, columns: u16, lines: u16) -> Result<Self> {
        let pair = openpty(&size(columns, lines), None).context("there is no terminal")?;
        let (line, keyboard) = (pair.slave, File::from(pair.master));
        command
            .stdin(Stdio::from(line.try_clone()?))
            .stdout(Stdio::from(line.try_clone()?))
            .stderr(Stdio::from(line.try_clone()?))
            .env("TERM", "xterm-256color");
        // SAFETY: between fork and exec only system calls are made.
        unsafe {
            command.pre_exec(|| {
                setsid()?;
                // Signals of the terminal are for who has it as his own.
                match libc::ioctl(0, libc::TIOCSCTTY, 0) {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                }
            });
        }
        let child = command.spawn().context("the program can't be run")?;
        let screen = Arc::new(Mutex::new(Parser::new(lines, columns, 0)));
        let (drawn, mut output) = (Arc::clone(&screen), keyboard.try_clone()?);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                lock(&drawn).process(&bytes[..count]);
            }
        });
        Ok(Self {
            child,
            keyboard,
            screen,
            line,
        })
    }

    /// What is to be read on it now.
    pub fn text(&self) -> String {
        lock(&self.screen).screen().contents()
    }

    /// Waits until what is to be read `holds`, or says what never came.
    pub fn wait_for(&self, what: &str, holds: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + patience();
        loop {
            let text = self.text();
            if holds(&text) {
                return Ok(text);
            }
            if Instant::now() > deadline {
                bail!("{what} never came:\n{text}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Gives it another size.
    pub fn resize(&mut self, columns: u16, lines: u16) -> Result<()> {
        let size = size(columns, lines);
        lock(&self.screen).screen_mut().set_size(lines, columns);
        // SAFETY: the kernel reads `size`, which outlives the call, and writes nothing.
        let done = unsafe { libc::ioctl(self.line.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        nix::errno::Errno::result(done).context("it stays as it is")?;
        Ok(())
    }

    /// How it is left at this moment.
    pub fn manners(&self) -> Result<Manners> {
        let flags = tcgetattr(&self.line)?.local_flags;
        let parser = lock(&self.screen);
        Ok(Manners {
            cooked: flags.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG),
            own_screen: !parser.screen().alternate_screen(),
            cursor: !parser.screen().hide_cursor(),
        })
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, signal).context("the program is gone")
    }

    /// Waits until the program has ended, and all that it said has been read.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience();
        loop {
            if let Some(status) = self.child.try_wait()? {
                // What it wrote last may still be on its way to the screen.
                let restored = |terminal: &Self| terminal.manners().is_ok_and(|m| m == RESTORED);
                let deadline = Instant::now() + Duration::from_secs(1);
                while !restored(self) && Instant::now() < deadline {
                    thread::sleep(Duration::from_millis(5));
                }
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the program does not end:\n{}", self.text());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn lock(screen: &Mutex<Parser>) -> MutexGuard<'_, Parser> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
