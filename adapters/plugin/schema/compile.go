package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// draft is the one that schemas are written in.
const draft = "https://json-schema.org/draft/2020-12/schema"

// unsupported keywords would change what a schema means if they were passed over.
var unsupported = []string{
	"$dynamicRef", "$recursiveRef", "$vocabulary", "unevaluatedProperties", "unevaluatedItems", "dependencies", "additionalItems",
}

// types are the names that the keyword type may have.
var types = []string{"null", "boolean", "object", "array", "number", "string", "integer"}

// node is one schema within a schema. A limit that is nil was not set.
type node struct {
	pointer string
	never   bool // the schema false
	ref     *node

	title, description string

	types  []string
	values *values // of enum
	fixed  *values // of const

	properties   map[string]*node
	names        []string // of properties, sorted
	patterns     []patternNode
	additional   *node
	nameRule     *node
	required     []string
	needs        map[string][]string
	needsSchemas map[string]*node
	minFields    *int
	maxFields    *int

	prefix      []*node
	items       *node
	contains    *node
	minContains *int
	maxContains *int
	minItems    *int
	maxItems    *int
	unique      bool

	minLength *int
	maxLength *int
	pattern   *pattern

	minimum, maximum, above, below, multiple *big.Rat

	all, some, one    []*node
	not               *node
	when, then, other *node
}

type patternNode struct {
	pattern *pattern
	node    *node
}

// values are what a field may be, in the order in which they are written.
type values struct {
	list []any
	set  map[string]bool // by identity
}

func valuesOf(list []any) *values {
	v := &values{list: list, set: map[string]bool{}}
	for _, one := range list {
		v.set[identity(one)] = true
	}
	return v
}

type compiler struct {
	document any
	nodes    map[string]*node // by pointer
	pointers int              // bytes of all pointers so far
	programs int              // instructions of the regular expressions so far
}

// compile reads the schema that stands at a pointer.
func (c *compiler) compile(pointer string, value any) (*node, error) {
	if known := c.nodes[pointer]; known != nil {
		return known, nil
	}
	if len(c.nodes) == maxNodes {
		return nil, fmt.Errorf("it has more than %d schemas within it", maxNodes)
	}
	if c.pointers += len(pointer); c.pointers > maxPointers {
		return nil, wrong(pointer, "it is nested too deeply below names that are too long")
	}
	n := &node{pointer: pointer}
	c.nodes[pointer] = n
	switch v := value.(type) {
	case bool:
		n.never = !v
		return n, nil
	case map[string]any:
		k := keywords{compiler: c, pointer: pointer, object: v}
		k.read(n)
		return n, k.err
	default:
		return nil, wrong(pointer, "it must be an object, true or false")
	}
}

// resolve compiles what $ref names.
func (c *compiler) resolve(pointer, ref string) (*node, error) {
	path, local := strings.CutPrefix(ref, "#")
	if !local || path != "" && path[0] != '/' {
		return nil, wrong(pointer, "it refers to %q: a schema may refer to its own parts only, as in #/$defs/name", clip(ref, 200))
	}
	path, err := url.PathUnescape(path)
	if err != nil {
		return nil, wrong(pointer, "it refers to %q, which is no pointer: %v", clip(ref, 200), err)
	}
	at, value := "", c.document
	for _, part := range strings.Split(path, "/")[1:] {
		name := strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		found := false
		switch v := value.(type) {
		case map[string]any:
			value, found = v[name]
		case []any:
			if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(v) && strconv.Itoa(i) == name {
				value, found = v[i], true
			}
		}
		if !found {
			return nil, wrong(pointer, "it refers to %q, which does not exist", clip(ref, 200))
		}
		at += "/" + escape(name)
	}
	return c.compile(at, value)
}

// endless finds a schema that refers to itself without going deeper into the document, which would never end.
func endless(nodes map[string]*node) error {
	const visiting, done = 1, 2
	state := map[*node]int{}
	var visit func(n *node) error
	visit = func(n *node) error {
		switch {
		case n == nil || state[n] == done:
			return nil
		case state[n] == visiting:
			return wrong(n.pointer, "it refers to itself without end")
		}
		state[n] = visiting
		for _, next := range n.here() {
			if err := visit(next); err != nil {
				return err
			}
		}
		state[n] = done
		return nil
	}
	for _, pointer := range slices.Sorted(maps.Keys(nodes)) {
		if err := visit(nodes[pointer]); err != nil {
			return err
		}
	}
	return nil
}

// here lists the schemas that look at the same value as this one.
func (n *node) here() []*node {
	all := slices.Concat([]*node{n.ref, n.not, n.when, n.then, n.other}, n.all, n.some, n.one)
	for _, name := range slices.Sorted(maps.Keys(n.needsSchemas)) {
		all = append(all, n.needsSchemas[name])
	}
	return all
}

func wrong(pointer, format string, args ...any) error {
	return fmt.Errorf("at #%s: %s", clip(pointer, 200), fmt.Sprintf(format, args...))
}

func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// keywords reads the keywords of one schema. After the first error nothing more is read.
type keywords struct {
	compiler *compiler
	pointer  string
	object   map[string]any
	err      error
}

func (k *keywords) fail(keyword, format string, args ...any) {
	if k.err == nil {
		k.err = wrong(k.pointer+"/"+escape(keyword), format, args...)
	}
}

// get returns a keyword's value, while there was no error.
func (k *keywords) get(keyword string) (any, bool) {
	value, there := k.object[keyword]
	return value, there && k.err == nil
}

func (k *keywords) sub(keyword string, value any, path ...string) *node {
	pointer := k.pointer + "/" + escape(keyword)
	for _, part := range path {
		pointer += "/" + escape(part)
	}
	n, err := k.compiler.compile(pointer, value)
	if err != nil && k.err == nil {
		k.err = err
	}
	return n
}

func (k *keywords) schema(keyword string) *node {
	value, there := k.get(keyword)
	if !there {
		return nil
	}
	return k.sub(keyword, value)
}

func (k *keywords) schemas(keyword string) []*node {
	list, there := k.list(keyword)
	if there && len(list) == 0 {
		k.fail(keyword, "it must not be empty")
	}
	var all []*node
	for i, value := range list {
		all = append(all, k.sub(keyword, value, strconv.Itoa(i)))
	}
	return all
}

func (k *keywords) named(keyword string) map[string]*node {
	value, there := k.get(keyword)
	if !there {
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok {
		k.fail(keyword, "it must be an object")
		return nil
	}
	all := map[string]*node{}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		all[name] = k.sub(keyword, object[name], name)
	}
	return all
}

func (k *keywords) list(keyword string) ([]any, bool) {
	value, there := k.get(keyword)
	if !there {
		return nil, false
	}
	list, ok := value.([]any)
	if !ok {
		k.fail(keyword, "it must be a list")
	}
	return list, ok
}

func (k *keywords) texts(keyword string, value any) []string {
	list, ok := value.([]any)
	var texts []string
	for _, item := range list {
		text, isText := item.(string)
		ok = ok && isText && !slices.Contains(texts, text)
		texts = append(texts, text)
	}
	if !ok {
		k.fail(keyword, "it must be a list of texts, each of them once")
	}
	return texts
}

func (k *keywords) text(keyword string) (string, bool) {
	value, there := k.get(keyword)
	if !there {
		return "", false
	}
	text, ok := value.(string)
	if !ok {
		k.fail(keyword, "it must be a text")
	}
	return text, ok
}

func (k *keywords) flag(keyword string) bool {
	value, there := k.get(keyword)
	flag, ok := value.(bool)
	if there && !ok {
		k.fail(keyword, "it must be true or false")
	}
	return flag
}

func (k *keywords) number(keyword string) *big.Rat {
	value, there := k.get(keyword)
	if !there {
		return nil
	}
	n, ok := value.(json.Number)
	if !ok || !bounded(n) {
		k.fail(keyword, "it must be a number of at most %d digits", maxDigits)
		return nil
	}
	return number(n)
}

func (k *keywords) count(keyword string) *int {
	r := k.number(keyword)
	if r == nil {
		return nil
	}
	if !r.IsInt() || r.Sign() < 0 {
		k.fail(keyword, "it must be a whole number that is not negative")
		return nil
	}
	most := 1 << 30 // More than any document holds.
	if r.Num().IsInt64() {
		most = int(min(int64(most), r.Num().Int64()))
	}
	return &most
}
