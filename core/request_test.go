package core

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestHashRequest(t *testing.T) {
	is := is.New(t)
	same := []string{`{"a":1,"b":[true,null,"x"]}`, ` { "b" : [ true , null , "x" ] , "a" : 1 } `, `{"b":[true,null,"\u0078"],"a":1}`}
	first, err := HashRequest([]byte(same[0]))
	is.NoErr(err)
	is.Equal(len(first), 64)
	for _, document := range same {
		hash, err := HashRequest([]byte(document))
		is.NoErr(err)
		is.Equal(hash, first)
	}
	for _, document := range []string{`{"a":1.0,"b":[true,null,"x"]}`, `{"a":1,"b":[null,true,"x"]}`, `{"a":"1","b":[true,null,"x"]}`, `{"A":1,"b":[true,null,"x"]}`} {
		hash, err := HashRequest([]byte(document))
		is.NoErr(err)
		is.True(hash != first)
	}
	for _, nothing := range []string{``, ` `, `null`, `{}`, ` { } `} {
		hash, err := HashRequest([]byte(nothing))
		is.NoErr(err)
		is.Equal(hash, "")
	}
	for _, bad := range []string{`{`, `{"a":1}{`, `{"a":1,"a":2}`, "\"\xff\"", `{"a":01}`, strings.Repeat("[", 300) + strings.Repeat("]", 300)} {
		_, err := HashRequest([]byte(bad))
		is.True(err != nil) // What can't be read in one way only has no hash.
	}
}

// FuzzCanonicalJSON holds the canonical form against its promises: it is a fixed point, it means the same as the
// document, and neither the order of keys nor white space changes it.
func FuzzCanonicalJSON(f *testing.F) {
	for _, seed := range []string{`{"osVersion":{"imageUri":"oci://r/i:v1","debug":false}}`, `[1,1.0,1e0,-0]`, `{"a":{"b":{}}}`, `"\ud800"`, `{"\u0000":1}`} {
		f.Add([]byte(seed), uint64(1))
	}
	f.Fuzz(func(t *testing.T, document []byte, seed uint64) {
		canonical, err := CanonicalJSON(document)
		if err != nil || len(canonical) == 0 {
			return
		}
		again, err := CanonicalJSON(canonical)
		if err != nil || !bytes.Equal(again, canonical) {
			t.Fatalf("%q is not a fixed point: %q, %v", canonical, again, err)
		}
		shuffled, err := CanonicalJSON(shuffle(t, canonical, rand.New(rand.NewPCG(seed, 0))))
		if err != nil || !bytes.Equal(shuffled, canonical) {
			t.Fatalf("the order of keys matters: %q, %q, %v", canonical, shuffled, err)
		}
		if other := change(canonical); other != nil {
			changed, err := CanonicalJSON(other)
			if err == nil && bytes.Equal(changed, canonical) {
				t.Fatalf("the value does not matter: %q and %q", canonical, other)
			}
		}
	})
}

// shuffle writes a document with its keys in another order and white space all over.
func shuffle(t *testing.T, document []byte, random *rand.Rand) []byte {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	return write(value, random)
}

func write(value any, random *rand.Rand) []byte {
	var b bytes.Buffer
	switch v := value.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		random.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		b.WriteString("{ ")
		for i, k := range keys {
			if i > 0 {
				b.WriteString(" ,\n")
			}
			name, _ := json.Marshal(k)
			b.Write(name)
			b.WriteString("\t: ")
			b.Write(write(v[k], random))
		}
		b.WriteString(" }")
	case []any:
		b.WriteString("[ ")
		for i, e := range v {
			if i > 0 {
				b.WriteString(" , ")
			}
			b.Write(write(e, random))
		}
		b.WriteString(" ]")
	default:
		text, _ := json.Marshal(v)
		b.Write(text)
	}
	return b.Bytes()
}

// change makes one digit of a document another one, wherever it stands: a value, or part of a name.
func change(document []byte) []byte {
	i := bytes.IndexAny(document, "123456789")
	if i < 0 {
		return nil
	}
	other := bytes.Clone(document)
	other[i] = '1' + (other[i]-'1'+1)%9
	return other
}
