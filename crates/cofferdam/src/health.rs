//! Health: the worst of the parts, where a part that says nothing is not healthy.
