//! How much an agent may do: actions per session and per minute.
