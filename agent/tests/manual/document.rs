//! Markdown to examples.
//!
//! An example is a ```` ```tcpip ```` fence and what stands behind it, up to the
//! next profile or heading: configs (`toml`), what is decided under the latest
//! one (`verdicts`), what there is to say (`diagnostics`), and change files on top
//! of it (`tcpip obey`). Words behind the
//! fence's language say more: see [`Attributes`].

use std::path::{Path, PathBuf};

/// A fence and where it stands.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The line of the document on which its text begins.
    pub line: usize,
    /// Its text.
    pub text: String,
}

/// What stands behind `tcpip` on the line of the fence.
#[derive(Clone, Debug, Default)]
pub struct Attributes {
    /// `on_error=skip`: bad entries are dropped, the rest applies.
    pub skips_errors: bool,
    /// `strict`: report what z/OS would not accept.
    pub strict: bool,
    /// `kernel=old`: checked for a kernel that lacks what can be lacking.
    pub old_kernel: bool,
    /// `ignore=WHY`: not run, for a reason.
    pub ignored: bool,
}

/// One step of an example.
#[derive(Debug)]
pub enum Step {
    /// The config from here on.
    Config(Block),
    /// `tcpip obey`: a change file, on top of all that is above it.
    Change(Block),
    /// What is decided.
    Verdicts(Block),
    /// What reading it reports; `checked`: what `check` reports.
    Diagnostics {
        /// Expected, a line each.
        block: Block,
        /// With advice, and with what can't be enforced yet.
        checked: bool,
    },
}

/// A profile and what is said about it.
#[derive(Debug)]
pub struct Example {
    /// The document.
    pub document: PathBuf,
    /// The nearest heading above it.
    pub heading: String,
    /// The profile.
    pub profile: Block,
    /// Files beside it, by name: fences with `file=NAME` in front of the profile.
    pub files: Vec<(String, String)>,
    /// What holds for all of it.
    pub attributes: Attributes,
    /// In order.
    pub steps: Vec<Step>,
}

impl Example {
    /// `path:line` of a line of the document.
    pub fn place(&self, line: usize) -> String {
        format!("{}:{line}", self.document.display())
    }
}

/// The examples of a document, and what is wrong with how they are written.
#[derive(Debug, Default)]
pub struct Document {
    /// In order.
    pub examples: Vec<Example>,
    /// Headings: line, level and text.
    pub headings: Vec<(usize, usize, String)>,
    /// With their places.
    pub mistakes: Vec<String>,
}

/// Reads the Markdown `text` of `path`.
pub fn read(path: &Path, text: &str) -> Document {
    let mut reader = Reader {
        path,
        document: Document::default(),
        files: Vec::new(),
        open: false,
    };
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            let mut block = Block {
                line: index + 2,
                text: String::new(),
            };
            let inside = lines.by_ref().map(|(_, line)| line);
            for line in inside.take_while(|line| line.trim() != "```") {
                block.text.push_str(line);
                block.text.push('\n');
            }
            reader.fence(info, block);
        } else if line.starts_with('#') {
            let level = line.bytes().take_while(|byte| *byte == b'#').count();
            let title = line[level..].trim().to_owned();
            reader.document.headings.push((index + 1, level, title));
            reader.open = false;
        }
    }
    if let Some((name, _)) = reader.files.first() {
        let mistake = format!("{}: no profile follows file {name}", path.display());
        reader.document.mistakes.push(mistake);
    }
    reader.document
}

struct Reader<'a> {
    path: &'a Path,
    document: Document,
    /// Files for the profile that follows.
    files: Vec<(String, String)>,
    /// Whether a step belongs to the last example.
    open: bool,
}

impl Reader<'_> {
    fn mistake(&mut self, line: usize, what: &str) {
        let place = self.path.display();
        let mistake = format!("{place}:{line}: {what}");
        self.document.mistakes.push(mistake);
    }

    fn fence(&mut self, info: &str, block: Block) {
        let (language, rest) = info.split_once(' ').unwrap_or((info, ""));
        let line = block.line;
        let step = match (language.trim(), rest.trim()) {
            // A file beside the profile that follows, in whatever language.
            (_, rest) if rest.starts_with("file=") => {
                let name = rest.trim_start_matches("file=").to_owned();
                return self.files.push((name, block.text));
            }
            ("tcpip", "obey") => Step::Change(block),
            ("tcpip", rest) => return self.profile(rest, block),
            // A config on its own is another document's business.
            ("toml", "") if !self.open => return,
            ("toml", "") => Step::Config(block),
            ("verdicts", "") => Step::Verdicts(block),
            ("diagnostics", "") => {
                let checked = false;
                Step::Diagnostics { block, checked }
            }
            ("diagnostics", "check") => {
                let checked = true;
                Step::Diagnostics { block, checked }
            }
            ("toml" | "verdicts" | "diagnostics", rest) => {
                return self.mistake(block.line, &format!("{rest} is not understood here"));
            }
            _ => return,
        };
        match self.document.examples.last_mut() {
            Some(example) if self.open => example.steps.push(step),
            _ => self.mistake(line, "there is no profile above it"),
        }
    }

    fn profile(&mut self, words: &str, block: Block) {
        let mut attributes = Attributes::default();
        for word in words.split_whitespace() {
            match word.split_once('=') {
                None if word == "strict" => attributes.strict = true,
                Some(("on_error", "skip")) => attributes.skips_errors = true,
                Some(("kernel", "old")) => attributes.old_kernel = true,
                Some(("ignore", why)) if !why.is_empty() => {
                    attributes.ignored = true;
                    // The rest of the line is the reason.
                    break;
                }
                _ => self.mistake(block.line, &format!("{word} is not understood here")),
            }
        }
        let headings = self.document.headings.last();
        self.document.examples.push(Example {
            document: self.path.to_owned(),
            heading: headings.map_or_else(String::new, |(_, _, title)| title.clone()),
            profile: block,
            files: std::mem::take(&mut self.files),
            attributes,
            steps: Vec::new(),
        });
        self.open = true;
    }
}
