//! Vectors of texts that mean something without a model: each word votes for a few places of the vector, chosen by its hash and the
//! model's name. Texts with words in common are near to each other; vectors of two models have nothing to do with each other.

/// How many places a word votes for.
const VOTES: usize = 4;

/// The dimensions that a model has unless it is asked for fewer; `None` for a model that is not known.
pub fn dimensions(model: &str) -> Option<usize> {
    match model {
        "text-embedding-3-small" => Some(64),
        "text-embedding-3-large" => Some(128),
        _ => None,
    }
}

/// The vector of a text, of length one.
pub fn embed(model: &str, text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    let lower = text.to_lowercase();
    for word in lower.split(|letter: char| !letter.is_alphanumeric()) {
        // Words of few letters are in every text; a plural is the same word.
        if word.len() < 3 {
            continue;
        }
        let word = word.trim_end_matches('s');
        let hash = crate::digest::sha256(format!("{model} {word}"));
        for vote in hash.as_bytes().chunks(4).take(VOTES) {
            let number = vote.iter().fold(0_usize, |sum, byte| sum * 31 + usize::from(*byte));
            let sign = if number % 2 == 0 { 1.0 } else { -1.0 };
            vector[number / 2 % dimensions] += sign;
        }
    }
    let length = vector.iter().map(|n| n * n).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    vector.iter().map(|n| n / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_with_words_in_common_are_near_within_a_model() {
        let embed = |model, text| embed(model, text, 64);
        let small = "text-embedding-3-small";
        let document = embed(small, "Secrets are rotated in two steps");
        let asked = embed(small, "How are secrets rotated?");
        let other = embed(small, "A star schema has facts in the middle");
        assert!(near(&document, &asked) > near(&document, &other) + 0.3);
        assert_eq!(embed(small, "secrets"), embed(small, "SECRET"));
        assert_ne!(embed(small, "secrets"), embed("text-embedding-3-large", "secrets"));
        assert!((near(&embed(small, ""), &embed(small, "")) - 1.0).abs() < 1e-6);
    }
}
