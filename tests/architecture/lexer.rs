//! Just enough of Rust's lexical structure to read a source file without being misled by comments and strings:
//! words and single punctuation characters, each with its line.
//! See "Tokens" in the Rust reference, <https://doc.rust-lang.org/reference/tokens.html>.

/// A word (identifier, keyword, number) or one punctuation character.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// The word or character.
    pub(crate) text: String,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// The tokens of `source`; comments, strings, characters and lifetimes are left out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    Lexer { rest: source.chars().collect(), at: 0, line: 1, found: Vec::new() }.run()
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
    found: Vec<Token>,
}

impl Lexer {
    fn run(mut self) -> Vec<Token> {
        while let Some(next) = self.peek(0) {
            match next {
                '/' if self.peek(1) == Some('/') => self.skip_while(|c| c != '\n'),
                '/' if self.peek(1) == Some('*') => self.skip_block_comment(),
                '"' => self.skip_quoted('"'),
                '\'' => self.skip_character_or_lifetime(),
                _ if self.raw_string_hashes().is_some() => self.skip_raw_string(),
                _ if next.is_alphanumeric() || next == '_' => self.word(),
                _ if next.is_whitespace() => self.advance(1),
                _ => {
                    self.found.push(Token { text: next.to_string(), line: self.line });
                    self.advance(1);
                }
            }
        }
        self.found
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn advance(&mut self, by: usize) {
        for _ in 0..by {
            if self.peek(0) == Some('\n') {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn skip_while(&mut self, keep: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&keep) {
            self.advance(1);
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        while self.peek(0).is_some() {
            let change = match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => 1,
                (Some('*'), Some('/')) => -1,
                _ => 0,
            };
            depth += change;
            self.advance(if change == 0 { 1 } else { 2 });
            if depth == 0 {
                return;
            }
        }
    }

    fn skip_quoted(&mut self, quote: char) {
        self.advance(1);
        while let Some(next) = self.peek(0) {
            self.advance(if next == '\\' { 2 } else { 1 });
            if next == quote {
                return;
            }
        }
    }

    fn skip_character_or_lifetime(&mut self) {
        if self.peek(1) == Some('\\') || self.peek(2) == Some('\'') {
            self.skip_quoted('\'');
        } else {
            self.advance(1);
            self.skip_while(|c| c.is_alphanumeric() || c == '_');
        }
    }

    /// The lengths of the prefix and of the `#`s of the raw string that starts here: `r"`, `br#"`, `cr##"`.
    fn raw_string_hashes(&self) -> Option<(usize, usize)> {
        let prefix = match (self.peek(0)?, self.peek(1)) {
            ('r', _) => 1,
            ('b' | 'c', Some('r')) => 2,
            _ => return None,
        };
        let behind = self.rest.iter().skip(self.at + prefix);
        let hashes = behind.take_while(|next| **next == '#').count();
        (self.peek(prefix + hashes) == Some('"')).then_some((prefix, hashes))
    }

    fn skip_raw_string(&mut self) {
        let Some((prefix, hashes)) = self.raw_string_hashes() else { return };
        self.advance(prefix + hashes + 1);
        while self.peek(0).is_some() {
            let closes = self.peek(0) == Some('"')
                && (1..=hashes).all(|ahead| self.peek(ahead) == Some('#'));
            self.advance(1);
            if closes {
                self.advance(hashes);
                return;
            }
        }
    }

    fn word(&mut self) {
        let (start, line) = (self.at, self.line);
        self.skip_while(|c| c.is_alphanumeric() || c == '_');
        let text = self.rest[start..self.at].iter().collect();
        self.found.push(Token { text, line });
    }
}

#[test]
fn comments_strings_and_lifetimes_do_not_mislead() {
    let source = r##"
        // crate::cli
        /* crate::cli /* nested */ crate::cli */
        fn f<'a>(x: &'a str) -> char { let _ = ("crate::cli {", r#"crate::"cli"#, b'"', '\''); '{' }
        crate::value::brief
    "##;
    let words: Vec<_> = tokens(source).into_iter().map(|token| token.text).collect();
    let text = words.join(" ");
    assert!(text.starts_with("fn f < > ( x : & str ) - > char { let _ = ( , ,"), "{text}");
    assert!(text.ends_with("} crate : : value : : brief"), "{text}");
    assert!(!text.contains("cli"), "{text}");
    assert_eq!(tokens(source).last().map(|token| token.line), Some(5));
}
