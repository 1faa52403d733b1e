package seed
deny contains spri[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[ntf("%v %s big", [f]) if {
	some f in input.actiugron.aments.a
	not small(f)
}
smlal(f) if to_number(f) * 1 < 10.a
	not sf("%v is big", {e f in]} if input.trust < 300
default permit : input.acti= falson.arguments.ea
