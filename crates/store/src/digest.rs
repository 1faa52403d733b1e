//! The digest of a projection: a keyed hash of a set of rows that can be updated row by row.
//!
//! MSet-Add-Hash (Clarke, Devadas, van Dijk, Gassend, Suh: "Incremental Multiset Hash Functions and
//! Their Application to Memory Integrity Checking", ASIACRYPT 2003): the sum modulo 2^256 of
//! HMAC-SHA-256(k, row) over all rows. As the paper demands, the bare sum is never shown: entries
//! hold a pseudo-random function of it, and the database holds it masked with a fresh nonce.
//!
//! Its limit: it convicts whoever edits rows without the key. Whoever has the organization's key can
//! make fitting digests, but then the entries still say what the rows should be.

use crate::seal::{self, SecretKey, Unsealable};
use aws_lc_rs::hmac;

/// The key of all digests of one journal. Made once and kept when the organization's key is replaced.
pub(crate) struct DigestKey(hmac::Key);

/// The sum over the rows of one projection, and their number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    /// Little-endian limbs.
    limbs: [u64; 4],
    /// How many rows.
    pub(crate) rows: u64,
}

impl DigestKey {
    pub(crate) fn new(key: &SecretKey) -> DigestKey {
        DigestKey(hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()))
    }

    fn row(&self, projection: &str, key: &str, value: &str) -> [u64; 4] {
        limbs(&seal::keyed(
            &self.0,
            &[b"row", projection.as_bytes(), key.as_bytes(), value.as_bytes()],
        ))
    }

    /// What entries say of a projection: lower-case hexadecimal.
    pub(crate) fn show(&self, projection: &str, sum: &Sum) -> String {
        let parts: [&[u8]; 4] = [
            b"show",
            projection.as_bytes(),
            &sum.bytes(),
            &sum.rows.to_be_bytes(),
        ];
        policy::canonical::hex(&seal::keyed(&self.0, &parts))
    }

    /// Nonce and masked sum, as the database keeps it.
    pub(crate) fn mask(&self, projection: &str, sum: &Sum) -> Result<([u8; 32], [u8; 32]), Unsealable> {
        let nonce = *seal::random()?;
        let mut masked = *sum;
        masked.add_limbs(limbs(&self.pad(projection, &nonce)));
        Ok((nonce, masked.bytes()))
    }

    /// Reads what [`DigestKey::mask`] gave. A wrong mask gives a wrong sum, which no digest fits.
    pub(crate) fn unmask(&self, projection: &str, nonce: &[u8], masked: &[u8; 32], rows: u64) -> Sum {
        let mut sum = Sum {
            limbs: limbs(masked),
            rows,
        };
        sum.subtract_limbs(limbs(&self.pad(projection, nonce)));
        sum
    }

    /// Binds the state of all projections to the head of the log, so that an older state of the rows
    /// cannot be put beside newer entries.
    pub(crate) fn seal_head<'a>(
        &self,
        size: u64,
        root: &[u8; 32],
        shown: impl Iterator<Item = (&'a str, &'a Sum)>,
    ) -> [u8; 32] {
        let mut all = Vec::new();
        for (name, sum) in shown {
            all.extend_from_slice(&(name.len() as u64).to_be_bytes());
            all.extend_from_slice(name.as_bytes());
            all.extend_from_slice(&sum.bytes());
            all.extend_from_slice(&sum.rows.to_be_bytes());
        }
        seal::keyed(&self.0, &[b"head", &size.to_be_bytes(), root, &all])
    }

    fn pad(&self, projection: &str, nonce: &[u8]) -> [u8; 32] {
        seal::keyed(&self.0, &[b"mask", projection.as_bytes(), nonce])
    }
}

impl Sum {
    /// A row came.
    pub(crate) fn add(&mut self, key: &DigestKey, projection: &str, row: &str, value: &str) {
        self.add_limbs(key.row(projection, row, value));
        self.rows = self.rows.wrapping_add(1);
    }

    /// A row went.
    pub(crate) fn subtract(&mut self, key: &DigestKey, projection: &str, row: &str, value: &str) {
        self.subtract_limbs(key.row(projection, row, value));
        self.rows = self.rows.wrapping_sub(1);
    }

    fn add_limbs(&mut self, other: [u64; 4]) {
        let mut carry = false;
        for (limb, more) in self.limbs.iter_mut().zip(other) {
            let (sum, first) = limb.overflowing_add(more);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first || second);
        }
    }

    fn subtract_limbs(&mut self, other: [u64; 4]) {
        let mut borrow = false;
        for (limb, less) in self.limbs.iter_mut().zip(other) {
            let (difference, first) = limb.overflowing_sub(less);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (difference, first || second);
        }
    }

    fn bytes(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (to, from) in out
            .iter_mut()
            .zip(self.limbs.iter().flat_map(|limb| limb.to_le_bytes()))
        {
            *to = from;
        }
        out
    }
}

fn limbs(bytes: &[u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, chunk) in limbs.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *limb = u64::from_le_bytes(*chunk);
    }
    limbs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> DigestKey {
        DigestKey::new(&zeroize::Zeroizing::new([byte; 32]))
    }

    #[test]
    fn order_does_not_matter_and_every_row_does() {
        let key = key(1);
        let sum = |rows: &[(&str, &str)]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|(k, v)| sum.add(&key, "p", k, v));
            key.show("p", &sum)
        };
        let whole = sum(&[("a", "1"), ("b", "2"), ("c", "3")]);
        type Pairs = &'static [(&'static str, &'static str)];
        #[rustfmt::skip]
        let table: [(&str, Pairs, bool); 6] = [
            ("another order",    &[("c", "3"), ("a", "1"), ("b", "2")], true),
            ("a row less",       &[("a", "1"), ("b", "2")], false),
            ("a row more",       &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")], false),
            ("a row twice",      &[("a", "1"), ("b", "2"), ("c", "3"), ("c", "3")], false),
            ("values swapped",   &[("a", "2"), ("b", "1"), ("c", "3")], false),
            ("border moved",     &[("a1", ""), ("b", "2"), ("c", "3")], false),
        ];
        for (name, rows, same) in table {
            assert_eq!(sum(rows) == whole, same, "{name}");
        }
    }

    #[test]
    fn going_takes_back_coming_and_masks_come_off() {
        let key = key(2);
        let mut sum = Sum::default();
        for n in 0..100 {
            sum.add(&key, "p", &n.to_string(), "x");
        }
        let before = sum;
        sum.add(&key, "p", "more", "y");
        sum.subtract(&key, "p", "more", "y");
        assert_eq!(sum, before);
        let (nonce, masked) = key.mask("p", &sum).unwrap();
        assert_eq!(key.unmask("p", &nonce, &masked, sum.rows), sum);
        assert_ne!(
            key.unmask("q", &nonce, &masked, sum.rows),
            sum,
            "the mask is the projection's own"
        );
    }

    #[test]
    fn another_key_gives_another_digest() {
        assert_ne!(
            key(1).show("p", &Sum::default()),
            key(2).show("p", &Sum::default())
        );
    }
}
