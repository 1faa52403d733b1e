//! The HTTP server: routes, authentication, views. It holds no logic of its own: a handler calls
//! the gate, the runtime or triage and turns the answer into JSON.
