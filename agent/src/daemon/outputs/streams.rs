//! Standard output, standard error, and files: a line for each message.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::libc;

use super::{
    message::Message,
    sink::{Names, Sink},
};
use crate::{daemon::protocol::EventRecord, files::writable_by_others};

/// How a line is worded.
#[derive(Clone, Copy)]
pub enum Wording {
    /// As the agent's log always was: who speaks, how grave it is, and what.
    Log,
    /// JSON.
    Json,
    /// Only events, so.
    Events(fn(&EventRecord) -> String),
}

impl Wording {
    fn line(self, message: &Message, names: &mut Names) -> Option<String> {
        let mut user = || message.event().and_then(|event| names.user(event.uid));
        match self {
            Self::Log => Some(format!(
                "portreeve: {}: {}",
                message.level(),
                message.text(user().as_deref())
            )),
            Self::Json => Some(message.json(user().as_deref())),
            Self::Events(word) => message.event().map(word),
        }
    }
}

/// One of the streams that the agent was started with.
pub struct Console<W> {
    stream: W,
    wording: Wording,
    waiting: Vec<u8>,
}

impl<W: Write + Send> Console<W> {
    /// Writes lines of this wording to `stream`.
    pub fn new(stream: W, wording: Wording) -> Self {
        Self {
            stream,
            wording,
            waiting: Vec::new(),
        }
    }
}

impl<W: Write + Send> Sink for Console<W> {
    fn put(&mut self, message: &Message, names: &mut Names) {
        if let Some(line) = self.wording.line(message, names) {
            self.waiting.extend_from_slice(line.as_bytes());
            self.waiting.push(b'\n');
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // What was written must not be written again, whatever comes behind it.
        while !self.waiting.is_empty() {
            match self.stream.write(&self.waiting) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nobody reads any more; that is no error of ours.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.waiting.clear(),
                Err(error) => return Err(error),
            }
        }
        self.stream.flush()
    }
}

/// How often it is looked whether the file was moved away.
const LOOK: Duration = Duration::from_secs(1);

/// A file that lines of JSON are added to.
pub struct LogFile {
    path: PathBuf,
    file: File,
    waiting: Vec<u8>,
    looked: Instant,
}

impl LogFile {
    /// The file at `path`, which is made if it isn't there.
    ///
    /// # Errors
    ///
    /// If it can't be opened, is no file, or if others than root may write it or replace it.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: open(path)?,
            waiting: Vec::new(),
            looked: Instant::now(),
        })
    }

    /// Whether another file is there now, or none, because ours was moved away.
    fn is_moved(&self) -> bool {
        let (Ok(ours), there) = (self.file.metadata(), fs::symlink_metadata(&self.path)) else {
            return false;
        };
        there.is_ok_and(|there| (there.dev(), there.ino()) != (ours.dev(), ours.ino()))
            || ours.nlink() == 0
            || !self.path.exists()
    }
}

impl Sink for LogFile {
    fn put(&mut self, message: &Message, names: &mut Names) {
        self.waiting.extend_from_slice(
            Wording::Json
                .line(message, names)
                .unwrap_or_default()
                .as_bytes(),
        );
        self.waiting.push(b'\n');
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if self.is_moved() {
                self.reopen()?;
            }
        }
        let before = self.file.metadata()?.len();
        self.file.write_all(&self.waiting).inspect_err(|_| {
            // Half a line would spoil the next one, too.
            if self.file.metadata().is_ok_and(|now| now.len() > before) {
                let _ = self.file.set_len(before);
            }
        })?;
        self.waiting.clear();
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open(&self.path)?;
        Ok(())
    }
}

/// Opens the file, but nothing that only has its name: no link, and nothing that could be
/// somebody else's by now.
fn open(path: &Path) -> io::Result<File> {
    let refused = |why: String| io::Error::new(io::ErrorKind::PermissionDenied, why);
    let folder = path.parent().unwrap_or(Path::new("/"));
    if let Some(why) = writable_by_others(&fs::metadata(folder)?) {
        let folder = folder.display();
        return Err(refused(format!(
            "others could replace it in {folder}: {why}"
        )));
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        // Whoever makes it a pipe doesn't get the agent to wait.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(refused("it is no regular file".to_owned()));
    }
    match writable_by_others(&metadata) {
        Some(why) => Err(refused(why)),
        None => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn message(text: &str) -> Message {
        Message::log(log::Level::Info, text.to_owned())
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        let message = |line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["message"].as_str().unwrap().to_owned()
        };
        text.lines().map(message).collect()
    }

    #[test]
    fn a_file_that_is_moved_away_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("a"), folder.path().join("b"));
        let mut file = LogFile::open(&path).unwrap();
        let write = |file: &mut LogFile, text: &str| {
            file.put(&message(text), &mut Names::default());
            file.flush().unwrap();
        };
        write(&mut file, "one");
        fs::rename(&path, &old).unwrap();
        file.reopen().unwrap();
        write(&mut file, "two");
        assert_eq!(lines(&old), ["one"]);
        assert_eq!(lines(&path), ["two"]);
        // And without a word.
        fs::rename(&path, &old).unwrap();
        file.looked = Instant::now().checked_sub(LOOK).unwrap();
        write(&mut file, "three");
        assert_eq!(lines(&path), ["three"]);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777 & !0o640, 0, "{mode:o}");
    }

    #[test]
    fn what_is_no_file_of_ours_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("target"), "").unwrap();
        symlink(path("target"), path("link")).unwrap();
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
        fs::write(path("open"), "").unwrap();
        fs::set_permissions(path("open"), fs::Permissions::from_mode(0o666)).unwrap();
        for name in ["link", "pipe", "open", ".", "absent/file"] {
            assert!(LogFile::open(&path(name)).is_err(), "{name}");
        }
        fs::create_dir(path("shared")).unwrap();
        fs::set_permissions(path("shared"), fs::Permissions::from_mode(0o777)).unwrap();
        let error = LogFile::open(&path("shared/file")).err().unwrap();
        assert!(
            error.to_string().contains("others could replace it"),
            "{error}"
        );
        assert!(!path("shared/file").exists());
    }

    #[test]
    fn a_disk_that_is_full_leaves_no_half_line() {
        // It takes nothing, whoever writes.
        let mut console = Console::new(
            OpenOptions::new().write(true).open("/dev/full").unwrap(),
            Wording::Log,
        );
        console.put(&message("one"), &mut Names::default());
        for _ in 0..2 {
            let error = console.flush().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        assert_eq!(console.waiting, b"portreeve: info: one\n");
    }

    #[test]
    fn what_was_written_is_not_written_again() {
        /// Takes a few bytes, then none for a time.
        struct Slow(Vec<u8>, bool);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 = !self.1;
                if self.1 {
                    self.0.extend_from_slice(&bytes[..4]);
                    return Ok(4);
                }
                Err(io::ErrorKind::WouldBlock.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut console = Console::new(Slow(Vec::new(), false), Wording::Log);
        console.put(&message("12345678"), &mut Names::default());
        while console.flush().is_err() {
            assert!(console.stream.0.len() < 100);
            if console.waiting.len() < 5 {
                break;
            }
        }
        let written = [&console.stream.0[..], &console.waiting].concat();
        assert_eq!(written, b"portreeve: info: 12345678\n");
    }
}
