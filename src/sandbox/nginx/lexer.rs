//! nginx's configuration language: words, quotes, comments, statements and blocks, with included files in place.

use std::fs;
use std::path::{Path, PathBuf};

/// Why a configuration cannot be used, as nginx says it after `[emerg] `.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Where something stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    file: PathBuf,
    line: usize,
}

impl Place {
    pub(super) fn error(&self, what: impl std::fmt::Display) -> ConfigError {
        ConfigError(format!("{what} in {}:{}", self.file.display(), self.line))
    }
}

/// A directive with its arguments and, for a block, what is in it.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Statement>>,
    pub(super) place: Place,
}

impl Statement {
    pub(super) fn name(&self) -> &str {
        &self.words[0]
    }

    pub(super) fn arguments(&self) -> &[String] {
        &self.words[1..]
    }
}

enum Token {
    Word(String),
    Semicolon,
    Open,
    Close,
}

/// How deep blocks and includes may be nested.
const DEEPEST: usize = 32;

/// Reads a file with everything that it includes; relative includes start at `base`, the folder of the main file.
pub(super) fn read(file: &Path, base: &Path) -> Result<Vec<Statement>, ConfigError> {
    let mut reader = Reader { base, depth: 0 };
    reader.file(file)
}

struct Reader<'a> {
    base: &'a Path,
    depth: usize,
}

impl Reader<'_> {
    fn file(&mut self, file: &Path) -> Result<Vec<Statement>, ConfigError> {
        let bytes = fs::read(file).map_err(|error| open_failed(file, &error))?;
        let tokens = tokens(&String::from_utf8_lossy(&bytes), file)?;
        let mut tokens = tokens.into_iter();
        let end = Place { file: file.to_owned(), line: 0 };
        self.block(&mut tokens, &end, false)
    }

    fn block(
        &mut self,
        tokens: &mut std::vec::IntoIter<(Token, Place)>,
        last: &Place,
        nested: bool,
    ) -> Result<Vec<Statement>, ConfigError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(last.error("too many nested blocks or includes"));
        }
        let mut last = last.clone();
        let mut statements = Vec::new();
        let mut words: Vec<String> = Vec::new();
        let mut closed = false;
        while let Some((token, place)) = tokens.next() {
            last = place.clone();
            match token {
                Token::Word(word) => words.push(word),
                Token::Semicolon if words.is_empty() => return Err(place.error("unexpected \";\"")),
                Token::Semicolon => {
                    let words = std::mem::take(&mut words);
                    let statement = Statement { words, block: None, place };
                    if statement.name() == "include" {
                        statements.extend(self.include(&statement)?);
                    } else {
                        statements.push(statement);
                    }
                }
                Token::Open if words.is_empty() => return Err(place.error("unexpected \"{\"")),
                Token::Open => {
                    let block = self.block(tokens, &place, true)?;
                    let words = std::mem::take(&mut words);
                    statements.push(Statement { words, block: Some(block), place });
                }
                Token::Close if nested && words.is_empty() => {
                    closed = true;
                    break;
                }
                Token::Close => return Err(place.error("unexpected \"}\"")),
            }
        }
        if !words.is_empty() {
            return Err(last.error("unexpected end of file, expecting \";\" or \"}\""));
        }
        if nested && !closed {
            return Err(last.error("unexpected end of file, expecting \"}\""));
        }
        self.depth -= 1;
        Ok(statements)
    }

    fn include(&mut self, statement: &Statement) -> Result<Vec<Statement>, ConfigError> {
        let [pattern] = statement.arguments() else {
            return Err(statement
                .place
                .error("invalid number of arguments in \"include\" directive"));
        };
        let path = self.base.join(pattern);
        let mut statements = Vec::new();
        for file in expand(&path) {
            statements.extend(self.file(&file)?);
        }
        Ok(statements)
    }
}

/// nginx's text for a file that cannot be opened.
pub(super) fn open_failed(file: &Path, error: &std::io::Error) -> ConfigError {
    ConfigError(format!("open() \"{}\" failed ({})", file.display(), os_text(error)))
}

/// An OS error as nginx writes it: `98: Address already in use`.
pub(super) fn os_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("{}: {text}", error.raw_os_error().unwrap_or_default())
}

/// The files that a pattern names, sorted; `*` stands for any part of the last component alone.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().map(|name| name.to_string_lossy().into_owned());
    let Some((start, end)) = name.as_deref().and_then(|name| name.split_once('*')) else {
        return vec![pattern.to_owned()];
    };
    let folder = pattern.parent().unwrap_or(Path::new("/"));
    // As with glob(3), a folder that is not there holds no files.
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && !start.starts_with('.');
            let long = name.len() >= start.len() + end.len();
            (!hidden && long && name.starts_with(start) && name.ends_with(end))
                .then(|| folder.join(name))
        })
        .collect();
    files.sort();
    files
}

fn tokens(text: &str, file: &Path) -> Result<Vec<(Token, Place)>, ConfigError> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    let mut line = 1;
    while let Some(c) = characters.next() {
        let place = Place { file: file.to_owned(), line };
        let token = match c {
            '\n' => {
                line += 1;
                continue;
            }
            c if c.is_ascii_whitespace() => continue,
            '#' => {
                while characters.next_if(|c| *c != '\n').is_some() {}
                continue;
            }
            ';' => Token::Semicolon,
            '{' => Token::Open,
            '}' => Token::Close,
            quote @ ('"' | '\'') => {
                let word = quoted(&mut characters, quote, &mut line);
                Token::Word(word.ok_or_else(|| {
                    place.error("unexpected end of file, expecting \";\" or \"}\"")
                })?)
            }
            first => Token::Word(bare(&mut characters, first)),
        };
        tokens.push((token, place));
    }
    Ok(tokens)
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn quoted(characters: &mut Characters<'_>, quote: char, line: &mut usize) -> Option<String> {
    let mut word = String::new();
    loop {
        match characters.next()? {
            c if c == quote => return Some(word),
            '\\' => word.push(escaped(characters)?),
            c => {
                *line += usize::from(c == '\n');
                word.push(c);
            }
        }
    }
}

fn escaped(characters: &mut Characters<'_>) -> Option<char> {
    Some(match characters.next()? {
        't' => '\t',
        'r' => '\r',
        'n' => '\n',
        other => other,
    })
}

fn bare(characters: &mut Characters<'_>, first: char) -> String {
    let mut word = String::from(first);
    // `${name}` belongs to the word, braces included.
    while let Some(c) = characters.next_if(|c| !c.is_ascii_whitespace() && !matches!(c, ';' | '{'))
    {
        word.push(c);
        if c == '$' && characters.next_if_eq(&'{').is_some() {
            word.push('{');
        }
    }
    word
}
