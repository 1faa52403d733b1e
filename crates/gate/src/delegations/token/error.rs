//! Why a delegation token is not accepted, each reason by itself.

/// Why not. No variant repeats more of the token than one claim.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Larger than anything we write.
    #[error("the token is longer than {} bytes", super::TOKEN_BYTES_MAX)]
    TooLong,
    /// Not of the form.
    #[error("not a delegation token: {0}")]
    Malformed(String),
    /// Another algorithm, `none` or one with a shared secret among them.
    #[error("algorithm `{0}` is not accepted: only EdDSA is")]
    Algorithm(String),
    /// The first link is not signed by this organization.
    #[error("the first link is not signed by this organization")]
    Unanchored,
    /// A link is not signed by the holder of the one above; counted from 0.
    #[error("link {0} is not signed by the holder of the link above")]
    Signature(usize),
    /// For somebody else.
    #[error("the token is for `{0}`")]
    Audience(String),
    /// Who signs, who acts and who acted before do not fit together.
    #[error("who signs, who acts and who acted before do not fit together")]
    Actors,
    /// The same agent twice.
    #[error("`{0}` is on the chain twice")]
    Cyclic(String),
    /// More links than the root allows.
    #[error("the chain is deeper than its root allows")]
    TooDeep,
    /// Ends later than the link above, or begins earlier, or never holds.
    #[error("a link has to live within the life of the link above")]
    Outlives,
    /// More trust than the link above.
    #[error("its trust ceiling is above {0}, that of the link above")]
    Ceiling(u16),
    /// Names no verb or no resource.
    #[error("`{0}` names no verb or no resource, so it cannot be delegated")]
    Unbounded(String),
    /// Not held by the link above.
    #[error("`{0}` is not held by the link above")]
    Widened(String),
    /// An exception of the link above is gone.
    #[error("the exception `{0}` of the link above is missing")]
    Excepted(String),
    /// The identifier was seen before, or is none.
    #[error("the token's identifier `{0}` was used before")]
    Replayed(String),
    /// Past its end.
    #[error("the token has expired")]
    Expired,
    /// Before its beginning.
    #[error("the token does not hold yet")]
    NotYet,
}
