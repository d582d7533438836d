//! From bytes to blocks: lines in their one spelling, compared with their seals.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Read};

use protocol::{B256, keccak256};

use super::super::line::{Line, MAX_LINE_BYTES, Manifest, Seal};
use super::findings::Findings;

/// A line that was read.
#[derive(Debug)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// What it says; none when that cannot be read.
    pub line: Option<Line>,
    hash: B256,
}

/// The lines up to a seal.
#[derive(Debug)]
pub struct Block {
    /// The lines, without the seal.
    pub entries: Vec<Entry>,
    /// Number of the seal.
    pub seal: u64,
}

impl Block {
    /// Whether this is about a slot, not about epochs.
    pub fn is_slot(&self) -> bool {
        let is_anchor = |entry: &Entry| matches!(entry.line, Some(Line::Anchor(_)));
        !self.entries.iter().all(|entry| is_anchor(entry) || entry.line.is_none())
    }

    /// Number of the first line.
    pub fn first_number(&self) -> u64 {
        self.entries.first().map_or(self.seal, |entry| entry.number)
    }

    /// Whether a line could not be read.
    pub fn is_damaged(&self) -> bool {
        self.entries.iter().any(|entry| entry.line.is_none())
    }
}

/// Reads blocks one by one.
pub struct Blocks<R> {
    input: R,
    number: u64,
    /// Line and digest of each seal; no digest when the seal could not be read.
    seals: Vec<(u64, Option<B256>)>,
    fingerprint: Option<B256>,
    ended: bool,
}

impl<R: BufRead> Blocks<R> {
    pub fn new(input: R) -> Self {
        Self { input, number: 0, seals: Vec::new(), fingerprint: None, ended: false }
    }

    /// Number of the last line read.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The manifest's digest, when there is a manifest.
    pub const fn fingerprint(&self) -> Option<B256> {
        self.fingerprint
    }

    /// The next block; none after the manifest or at the end.
    pub fn next(&mut self, found: &mut Findings) -> io::Result<Option<Block>> {
        let mut entries = Vec::new();
        while !self.ended {
            let Some(text) = self.line(found)? else {
                self.ended = true;
                found.add(self.number, "bundle", "it ends without a manifest: lines are missing");
                break;
            };
            let number = self.number;
            match Line::parse(&text) {
                Ok(Line::Seal(seal)) => {
                    compare(&entries, &seal, number, found);
                    self.seals.push((number, seal.holds().then_some(seal.digest)));
                    return Ok(Some(Block { entries, seal: number }));
                }
                Ok(Line::Manifest(manifest)) => self.end(&manifest, found)?,
                Ok(line) => {
                    entries.push(Entry { number, line: Some(line), hash: keccak256(&text) });
                }
                Err(why) => {
                    found.add(number, word(&text), format!("cannot be read: {why}"));
                    if word(&text) == "seal" {
                        self.seals.push((number, None));
                        return Ok(Some(Block { entries, seal: number }));
                    }
                    if word(&text) == "manifest" {
                        self.ended = true;
                        break;
                    }
                    entries.push(Entry { number, line: None, hash: keccak256(&text) });
                }
            }
        }
        if let Some(first) = entries.first() {
            found.add(first.number, "block", "lines without a seal");
            return Ok(Some(Block { entries, seal: self.number }));
        }
        Ok(None)
    }

    /// One line without its break, of bounded length.
    fn line(&mut self, found: &mut Findings) -> io::Result<Option<Vec<u8>>> {
        let mut text = Vec::new();
        let limit = MAX_LINE_BYTES as u64 + 1;
        let read = self.input.by_ref().take(limit).read_until(b'\n', &mut text)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if text.pop_if(|last| *last == b'\n').is_none() {
            let why = if text.len() > MAX_LINE_BYTES { "is too long" } else { "is cut off" };
            found.add(self.number, word(&text), why);
            if text.len() > MAX_LINE_BYTES {
                // Nothing after it can be trusted to be a line.
                self.ended = true;
            }
        }
        Ok(Some(text))
    }

    fn end(&mut self, manifest: &Manifest, found: &mut Findings) -> io::Result<()> {
        self.ended = true;
        self.fingerprint = Some(manifest.digest);
        let number = self.number;
        if !manifest.holds() {
            found.add(number, "manifest", "its digest is not that of its seals");
            return self.nothing_more(found);
        }
        if manifest.lines != number - 1 {
            let what = format!("{} lines are announced, {} are there", manifest.lines, number - 1);
            found.add(number, "manifest", what);
        }
        if manifest.seals.len() != self.seals.len() {
            let (announced, there) = (manifest.seals.len(), self.seals.len());
            let what = format!("{announced} blocks are announced, {there} are there");
            found.add(number, "manifest", what);
        }
        for (&(line, digest), &announced) in self.seals.iter().zip(&manifest.seals) {
            if digest.is_some_and(|digest| digest != announced) {
                found.add(line, "seal", "is not the seal that the manifest lists");
            }
        }
        self.nothing_more(found)
    }

    fn nothing_more(&mut self, found: &mut Findings) -> io::Result<()> {
        if !self.input.fill_buf()?.is_empty() {
            found.add(self.number + 1, "bundle", "something stands after the manifest");
        }
        Ok(())
    }
}

/// Names the lines that are not those that were sealed.
fn compare(entries: &[Entry], seal: &Seal, number: u64, found: &mut Findings) {
    if !seal.holds() {
        found.add(number, "seal", "its digest is not that of its lines");
        return;
    }
    let unlike = |(entry, sealed): &(&Entry, &B256)| entry.hash != **sealed;
    if entries.len() == seal.lines.len() {
        let here: BTreeSet<B256> = entries.iter().map(|entry| entry.hash).collect();
        for (entry, sealed) in entries.iter().zip(&seal.lines).filter(unlike) {
            let moved = here.contains(sealed) && seal.lines.contains(&entry.hash);
            let what = if moved {
                format!("stands in another place than when it was sealed (line {number})")
            } else {
                format!("is not the line that was sealed (line {number})")
            };
            found.add(entry.number, kind(entry), what);
        }
        return;
    }
    let first = entries.iter().zip(&seal.lines).find(unlike).map(|(entry, _)| entry);
    let first = first.or_else(|| entries.get(seal.lines.len()));
    let (line, kind) = first.map_or((number, "seal"), |entry| (entry.number, kind(entry)));
    let what = format!(
        "from here on lines are missing, added or moved: {} were sealed (line {number}), {} stand \
         here",
        seal.lines.len(),
        entries.len()
    );
    found.add(line, kind, what);
}

fn kind(entry: &Entry) -> &'static str {
    entry.line.as_ref().map_or("line", Line::kind)
}

/// What a line that cannot be read seems to be.
fn word(text: &[u8]) -> &'static str {
    const KINDS: [&str; 14] = [
        "street",
        "grid",
        "before",
        "earlier",
        "baseline",
        "clearing",
        "order",
        "reading",
        "statement",
        "transfers",
        "header",
        "anchor",
        "seal",
        "manifest",
    ];
    let rest = text.strip_prefix(b"{\"kind\":\"");
    let word = rest.and_then(|rest| rest.split(|byte| *byte == b'"').next()).unwrap_or_default();
    KINDS.into_iter().find(|kind| kind.as_bytes() == word).unwrap_or("line")
}
