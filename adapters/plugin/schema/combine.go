package schema

// combined checks a value against the schemas that are made of others.
func (c *check) combined(n *node, value any, at *place, f *findings) {
	for _, next := range n.all {
		f.add(c.value(next, value, at)...)
	}
	if len(n.some) > 0 {
		fits, branches := c.fitting(n.some, value, at)
		if len(fits) == 0 && !c.spent() {
			f.add(together(at, branches))
		}
	}
	if len(n.one) > 0 {
		fits, branches := c.fitting(n.one, value, at)
		switch {
		case c.spent():
		case len(fits) == 0:
			f.add(together(at, branches))
		case len(fits) > 1:
			f.add(exclusive(at, fits))
		}
	}
	if n.not != nil && c.holds(n.not, value, at) && !c.spent() {
		f.wrong(at, "it is what the schema says that it must not be")
	}
	if n.when == nil {
		return
	}
	next := n.other
	if c.holds(n.when, value, at) {
		next = n.then
	}
	if next != nil {
		f.add(c.value(next, value, at)...)
	}
}

// fitting tells which of several schemas a value fits, and what is wrong with it for each of the others.
func (c *check) fitting(nodes []*node, value any, at *place) (fits []*node, branches [][]problem) {
	for _, next := range nodes {
		if problems := c.value(next, value, at); len(problems) > 0 {
			branches = append(branches, problems)
			c.take(8 * len(problems))
		} else {
			fits = append(fits, next)
		}
	}
	return fits, branches
}

// exclusive tells of a value that fits several schemas, of which it may fit one. Where each of these only asks for
// one field, the fields are named.
func exclusive(at *place, fits []*node) problem {
	var names []string
	for _, n := range fits {
		if len(n.required) != 1 {
			return problem{at: at, reason: ReasonWrongValue, message: "it fits more than one of the forms that exclude one another"}
		}
		names = append(names, n.required[0])
	}
	return problem{at: at, reason: ReasonWrongValue, message: "only one of these fields may be set: " + shorten(names)}
}
