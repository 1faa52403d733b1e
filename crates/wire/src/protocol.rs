//! Which protocol a client or an upstream speaks.

/// A kind of call, as a client makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// OpenAI `POST /v1/chat/completions`.
    Chat,
    /// OpenAI `POST /v1/responses`.
    Responses,
    /// OpenAI `POST /v1/embeddings`.
    Embeddings,
    /// Anthropic `POST /v1/messages`.
    Messages,
    /// Anthropic `POST /v1/messages/count_tokens`. Costs nothing.
    CountTokens,
    /// Amazon Bedrock `POST /model/MODEL/converse`, its streams after [`crate::frames`]. Spoken by upstreams alone.
    Converse,
}

/// Whose conventions hold: paths, headers, shapes of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// OpenAI, and all who offer its API.
    OpenAi,
    /// Anthropic.
    Anthropic,
    /// Amazon. No client speaks it here.
    Amazon,
}

impl Protocol {
    /// All that clients speak.
    pub const ALL: [Protocol; 5] = [
        Protocol::Chat,
        Protocol::Responses,
        Protocol::Embeddings,
        Protocol::Messages,
        Protocol::CountTokens,
    ];

    /// Whose it is.
    pub fn family(self) -> Family {
        match self {
            Protocol::Chat | Protocol::Responses | Protocol::Embeddings => Family::OpenAi,
            Protocol::Messages | Protocol::CountTokens => Family::Anthropic,
            Protocol::Converse => Family::Amazon,
        }
    }

    /// The path below a base URL that ends before the version (`https://api.openai.com`). That of Converse names the
    /// model: see [`crate::provider::Provider::endpoint`].
    pub fn path(self) -> &'static str {
        match self {
            Protocol::Chat => "/v1/chat/completions",
            Protocol::Responses => "/v1/responses",
            Protocol::Embeddings => "/v1/embeddings",
            Protocol::Messages => "/v1/messages",
            Protocol::CountTokens => "/v1/messages/count_tokens",
            Protocol::Converse => "/model",
        }
    }

    /// Whether an answer can come as a stream.
    pub fn streams(self) -> bool {
        matches!(
            self,
            Protocol::Chat | Protocol::Responses | Protocol::Messages | Protocol::Converse
        )
    }

    /// The stable name, for records.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Chat => "chat",
            Protocol::Responses => "responses",
            Protocol::Embeddings => "embeddings",
            Protocol::Messages => "messages",
            Protocol::CountTokens => "count_tokens",
            Protocol::Converse => "converse",
        }
    }
}
