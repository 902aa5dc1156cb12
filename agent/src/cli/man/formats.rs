//! The pages about files: what the manual's documents say of them, as manual pages.

use std::{
    io::{self, Write as _},
    mem::take,
};

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::{NAME, Page};

/// File formats.
pub const SECTION: &str = "5";

/// A kind of files.
struct Format {
    name: &'static str,
    about: &'static str,
    document: &'static str,
}

const FORMATS: [Format; 2] = [
    Format {
        name: "portreeve.toml",
        about: "the config of portreeve",
        document: include_str!("../../../../docs/config.md"),
    },
    Format {
        name: "portreeve-profile",
        about: "the language of portreeve's profile",
        document: include_str!("../../../../docs/language.md"),
    },
];

/// The pages of all formats.
///
/// # Errors
///
/// None that can be told: they are written to memory.
pub fn pages() -> io::Result<Vec<Page>> {
    FORMATS.iter().map(page).collect()
}

fn page(format: &Format) -> io::Result<Page> {
    let version = env!("CARGO_PKG_VERSION");
    let mut text = Vec::new();
    // Without a date, as the other pages.
    writeln!(
        text,
        ".TH {} {SECTION} \"\" \"{NAME} {version}\" {NAME}",
        format.name
    )?;
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{} - {}", format.name, format.about))]);
    roff.control("SH", ["DESCRIPTION"]);
    let mut writer = Writer::new(roff);
    for event in Parser::new_ext(format.document, Options::ENABLE_TABLES) {
        writer.take(event);
    }
    let mut roff = writer.roff;
    roff.control("SH", ["SEE ALSO"]);
    let mut also = vec![bold(NAME), roman("(8)")];
    for other in FORMATS.iter().filter(|other| other.name != format.name) {
        also.extend([roman(", "), bold(other.name), roman(format!("({SECTION})"))]);
    }
    roff.text(also);
    roff.to_writer(&mut text)?;
    Ok(Page {
        file: format!("{}.{SECTION}", format.name),
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}

/// Writes a page from what is read of a document.
struct Writer {
    roff: Roff,
    /// The text since the last paragraph, heading or cell began.
    text: Vec<Inline>,
    /// The same without fonts.
    plain: String,
    font: fn(String) -> Inline,
    /// The headings of a table's columns, and the cells of its row, without fonts and with.
    columns: Vec<String>,
    headings: Vec<String>,
    cells: Vec<Vec<Inline>>,
    /// Whether the next paragraph belongs behind the mark of a list's item.
    is_marked: bool,
    in_item: bool,
    in_code: bool,
}

impl Writer {
    fn new(roff: Roff) -> Self {
        Self {
            roff,
            text: Vec::new(),
            plain: String::new(),
            font: roman,
            columns: Vec::new(),
            headings: Vec::new(),
            cells: Vec::new(),
            is_marked: false,
            in_item: false,
            in_code: false,
        }
    }

    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.begin(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) if self.in_code => {
                for line in text.lines() {
                    self.roff.text([roman(line)]);
                }
            }
            Event::Text(text) => self.add(&text, self.font),
            Event::Code(code) => self.add(&code, bold),
            Event::SoftBreak | Event::HardBreak => self.add(" ", roman),
            _ => {}
        }
    }

    fn add(&mut self, text: &str, font: fn(String) -> Inline) {
        self.text.push(font(text.to_owned()));
        self.plain.push_str(text);
    }

    fn begin(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Strong => self.font = bold,
            Tag::Emphasis => self.font = italic,
            Tag::Item => {
                self.roff.control("IP", ["\\(bu", "2"]);
                self.is_marked = true;
                self.in_item = true;
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                self.roff.control("PP", []);
                // What must come out of the text before.
                if let CodeBlockKind::Fenced(kind) = kind
                    && ["verdicts", "diagnostics"]
                        .iter()
                        .any(|of| kind.starts_with(of))
                {
                    self.roff.text([italic(format!("{kind}:"))]);
                }
                self.roff.control("RS", ["4"]);
                self.roff.control("nf", []);
                self.in_code = true;
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong | TagEnd::Emphasis => self.font = roman,
            TagEnd::Heading(level) => self.heading(level),
            TagEnd::Paragraph => self.paragraph(),
            // A list without blank lines has no paragraphs.
            TagEnd::Item => {
                self.flush();
                self.in_item = false;
            }
            TagEnd::CodeBlock => {
                self.roff.control("fi", []);
                self.roff.control("RE", []);
                self.in_code = false;
            }
            TagEnd::TableCell => {
                self.headings.push(take(&mut self.plain));
                self.cells.push(take(&mut self.text));
            }
            TagEnd::TableHead => {
                self.columns = take(&mut self.headings);
                self.cells.clear();
            }
            TagEnd::TableRow => self.row(),
            _ => {}
        }
    }

    fn heading(&mut self, level: HeadingLevel) {
        self.text.clear();
        let text = take(&mut self.plain);
        match level {
            // The page has a title.
            HeadingLevel::H1 => {}
            HeadingLevel::H2 => {
                self.roff.control("SH", [text.to_uppercase().as_str()]);
            }
            _ => {
                self.roff.control("SS", [text.as_str()]);
            }
        }
    }

    fn paragraph(&mut self) {
        match (take(&mut self.is_marked), self.in_item) {
            (true, _) => {}
            (false, true) => {
                self.roff.control("IP", ["\\&", "2"]);
            }
            (false, false) => {
                self.roff.control("PP", []);
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.is_marked = false;
        self.plain.clear();
        if !self.text.is_empty() {
            self.roff.text(take(&mut self.text));
        }
    }

    /// What the first cell names, and below it the others: the last, which explains, and
    /// before it, with their headings, those between.
    fn row(&mut self) {
        self.headings.clear();
        let mut cells = take(&mut self.cells).into_iter();
        let (Some(first), Some(last)) = (cells.next(), cells.next_back()) else {
            return;
        };
        self.roff.control("TP", []);
        self.roff.text(first);
        for (column, cell) in self.columns.iter().skip(1).zip(cells) {
            let heading = italic(format!("{column}: "));
            self.roff.text([vec![heading], cell].concat());
            self.roff.control("br", []);
        }
        self.roff.text(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(document: &'static str) -> String {
        let format = Format {
            name: "x",
            about: "y",
            document,
        };
        page(&format).unwrap().text
    }

    #[test]
    fn a_table_is_a_list_of_what_its_first_column_names() {
        let page =
            of("# T\n\n## K *e*\n\n| Key | Values | Meaning |\n| - | - | - |\n| `a` | 1 | .b |\n");
        let expected = ".TP\n\\fBa\\fR\n\\fIValues: \\fR1\n.br\n\\&.b\n";
        assert!(page.contains(expected), "{page}");
        assert!(!page.contains(".SH T\n"), "{page}");
    }

    #[test]
    fn text_is_never_taken_for_a_request() {
        let page = of("a\n.SH b\n\n```tcpip\n.SH c\n'd\n\\e\n```\n\n- one\n\n  more\n- **two**\n");
        assert!(page.contains("\na .SH b\n"), "{page}");
        assert!(page.contains(".nf\n\\&.SH c\n"), "{page}");
        assert!(page.contains("\\\\e\n.fi\n.RE\n"), "{page}");
        assert!(page.contains("2\none\n.IP \\& 2\nmore\n"), "{page}");
        assert!(page.contains("2\n\\fBtwo\\fR\n"), "{page}");
    }

    /// Every heading and every key of the documents is there.
    #[test]
    fn nothing_of_the_documents_is_left_out() {
        for (page, format) in pages().unwrap().iter().zip(&FORMATS) {
            let plain = page
                .text
                .replace("\\fB", "")
                .replace("\\fR", "")
                .replace('\\', "");
            let headings = format
                .document
                .lines()
                .filter(|line| line.starts_with("##"));
            assert_eq!(
                page.text.matches("\n.SH ").count() + page.text.matches("\n.SS ").count(),
                headings.count() + ["NAME", "DESCRIPTION", "SEE ALSO"].len(),
                "{}",
                page.file
            );
            let mut rows = 0;
            for line in format
                .document
                .lines()
                .filter(|line| line.starts_with("| `"))
            {
                let key = line.split('`').nth(1).unwrap();
                assert!(
                    plain.contains(&format!("\n.TP\n{key}")),
                    "{}: {key}",
                    page.file
                );
                rows += 1;
            }
            assert!(rows > 3, "{}", page.file);
        }
    }
}
