//! Reads the frames of a script out of what a machine sends, as it comes, keeping no more than the caps allow.

use std::time::Duration;

/// Longest frame line that is waited for; what is longer is no frame.
const LONGEST_FRAME_BYTES: usize = 1024;

/// What came between one pair of frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// Output, at most its cap.
    pub output: Vec<u8>,
    /// Bytes beyond the cap.
    pub dropped: usize,
    /// How it ended, once it has.
    pub end: Option<End>,
    /// Whether it has begun.
    pub is_begun: bool,
    /// The line of `/proc/PID/stat` of what was started, where the script tells it.
    pub process: Option<String>,
    /// When it began, by the machine's clock.
    pub began_at: Option<Duration>,
    /// Remarks that were told before the end.
    pub remarks: String,
}

impl Piece {
    /// Ends it here, where it said more than is taken and was ended for that.
    pub fn cut_off(&mut self) {
        if self.dropped > 0 && self.end.is_none() {
            let remarks = std::mem::take(&mut self.remarks);
            self.end = Some(End { status: 0, took: Duration::ZERO, remarks });
        }
    }
}

/// The end of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// Exit status.
    pub status: i32,
    /// How long it took by the machine's clock.
    pub took: Duration,
    /// The script's remarks: a letter for each file, or for the ask.
    pub remarks: String,
}

/// Reads one output stream.
#[derive(Debug)]
pub(super) struct Reader {
    mark: Vec<u8>,
    caps: Vec<usize>,
    waiting: Vec<u8>,
    pieces: Vec<Piece>,
    current: Option<usize>,
    /// What was said outside of frames, for who must explain why there are none.
    pub noise: Vec<u8>,
    /// Whether a frame was seen.
    pub is_framed: bool,
    /// Whether the last words were seen.
    pub is_over: bool,
}

impl Reader {
    /// Reads frames that begin with `word`; each piece keeps at most its cap, in bytes.
    pub fn new(word: &str, caps: Vec<usize>) -> Self {
        let pieces = vec![Piece::default(); caps.len()];
        let mark = format!("\n{word} ").into_bytes();
        Self {
            mark,
            caps,
            waiting: Vec::new(),
            pieces,
            current: None,
            noise: Vec::new(),
            is_framed: false,
            is_over: false,
        }
    }

    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.as_slice();
        loop {
            let Some(at) = find(rest, &self.mark) else {
                // a frame may have begun at the end
                let kept = tail_that_may_begin(rest, &self.mark);
                self.take(&rest[..rest.len() - kept]);
                self.waiting = rest[rest.len() - kept..].to_vec();
                return;
            };
            self.take(&rest[..at]);
            let line = &rest[at + self.mark.len()..];
            match line.iter().position(|&byte| byte == b'\n') {
                Some(end) => {
                    self.frame(&String::from_utf8_lossy(&line[..end]));
                    rest = &line[end + 1..];
                }
                None if line.len() > LONGEST_FRAME_BYTES => {
                    self.take(&rest[at..=at]);
                    rest = &rest[at + 1..];
                }
                None => {
                    self.waiting = rest[at..].to_vec();
                    return;
                }
            }
        }
    }

    /// Takes what is left at the end of the stream.
    pub fn finish(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.take(&waiting);
    }

    /// Whether all pieces have ended.
    pub fn is_complete(&self) -> bool {
        self.pieces.iter().all(|piece| piece.end.is_some())
    }

    /// Whether a piece says much more than it may.
    pub fn is_flooded(&self, bytes: usize) -> bool {
        self.pieces.iter().any(|piece| piece.dropped > bytes)
    }

    /// What came after the last frame.
    pub fn into_remainder(mut self) -> Vec<u8> {
        let mut rest =
            self.current_piece().map(|piece| std::mem::take(&mut piece.output)).unwrap_or_default();
        rest.append(&mut self.waiting);
        rest
    }

    /// The pieces, by their number.
    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// The piece of this number.
    pub fn piece(&self, number: usize) -> Option<&Piece> {
        self.pieces.get(number)
    }

    fn take(&mut self, bytes: &[u8]) {
        const LONGEST_NOISE_BYTES: usize = 2048;
        let (kept, cap) = match self
            .current
            .and_then(|current| Some((self.pieces.get_mut(current)?, self.caps.get(current)?)))
        {
            Some((piece, cap)) => {
                let room = cap.saturating_sub(piece.output.len());
                piece.dropped += bytes.len().saturating_sub(room);
                (&mut piece.output, *cap)
            }
            None => (&mut self.noise, LONGEST_NOISE_BYTES),
        };
        let room = cap.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn frame(&mut self, line: &str) {
        let (tag, rest) = line.split_once(' ').unwrap_or((line, ""));
        match tag {
            "b" => {
                self.is_framed = true;
                let mut words = rest.split(' ');
                self.current = words.next().and_then(|number| number.parse().ok());
                let began_at = words.next().and_then(seconds);
                if let Some(piece) = self.current_piece() {
                    piece.is_begun = true;
                    piece.began_at = began_at;
                }
            }
            "p" => {
                if let Some(piece) = self.current_piece() {
                    piece.process = Some(rest.to_owned());
                }
            }
            "r" => {
                if let Some(piece) = self.current_piece() {
                    rest.clone_into(&mut piece.remarks);
                }
            }
            "d" => {
                let mut words = rest.split(' ');
                let status = words.next().and_then(|word| word.parse().ok()).unwrap_or(-1);
                let ended_at = words.next().and_then(seconds);
                let remarks = words.next().unwrap_or_default();
                if let Some(piece) = self.current_piece() {
                    let remarks = [std::mem::take(&mut piece.remarks).as_str(), remarks].concat();
                    let took = ended_at.zip(piece.began_at).map(|(end, start)| end.saturating_sub(start));
                    piece.end = Some(End { status, took: took.unwrap_or_default(), remarks });
                }
                self.current = None;
            }
            "l" => {
                self.is_over = true;
                self.current = None;
            }
            _ => {}
        }
    }

    fn current_piece(&mut self) -> Option<&mut Piece> {
        self.current.and_then(|current| self.pieces.get_mut(current))
    }
}

fn seconds(text: &str) -> Option<Duration> {
    text.parse().ok().and_then(|seconds: f64| Duration::try_from_secs_f64(seconds).ok())
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|&byte| byte == b'\n') {
        let at = from + at;
        if text[at..].starts_with(wanted) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// How many bytes at the end of `text` are a beginning of `wanted`.
fn tail_that_may_begin(text: &[u8], wanted: &[u8]) -> usize {
    let longest = text.len().min(wanted.len() - 1);
    (1..=longest).rev().find(|&length| wanted.starts_with(&text[text.len() - length..])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"Welcome!\n\nW b 0 10.00\none\ntwo\nV b 9\n\nW p 5 (sh) S\n\nW d 3 10.25 m\nnoise\nW b 1 10.25\n\nW\n\nW d 0 10.30 \n";

    fn read(chunk: usize) -> Reader {
        let mut reader = Reader::new("W", vec![100, 100]);
        for bytes in TEXT.chunks(chunk) {
            reader.feed(bytes);
        }
        reader.finish();
        reader
    }

    #[test]
    fn frames_are_found_however_the_bytes_arrive() {
        for chunk in 1..TEXT.len() {
            let reader = read(chunk);
            assert!(reader.is_complete(), "chunks of {chunk}");
            let pieces = reader.into_pieces();
            let first = &pieces[0];
            let end = first.end.as_ref().expect("ended");
            assert_eq!((end.status, end.took, end.remarks.as_str()), (3, Duration::from_millis(250), "m"));
            assert_eq!(first.process.as_deref(), Some("5 (sh) S"));
        }
    }

    #[test]
    fn what_is_beyond_the_cap_is_counted_and_dropped() {
        let mut reader = Reader::new("W", vec![4]);
        reader.feed(b"\nW b 0 1\n0123456789\nW d 0 1 \n");
        let piece = &reader.into_pieces()[0];
        assert_eq!((piece.output.as_slice(), piece.dropped), (b"0123".as_slice(), 6));
    }
}
