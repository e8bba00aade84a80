package deploy

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"elemental/core"
)

// fuzzBudget keeps one run of a fuzz target small.
func fuzzBudget() Budget {
	return Budget{Entries: 200, Bytes: 1 << 20, Ratio: 10, Small: 1 << 20, Depth: 16, Record: 64 << 10}
}

// FuzzLayer reads tars that others made, puts them on top of a small tree, and lays that down: nothing may panic,
// nothing may appear outside, and what is refused is refused with a reason.
func FuzzLayer(f *testing.F) {
	seed := func(headers ...tar.Header) {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, h := range headers {
			h.Uid, h.Gid = os.Getuid(), os.Getgid()
			if w.WriteHeader(&h) != nil {
				return
			}
			_, _ = w.Write(make([]byte, h.Size)) // A seed that is cut short is a seed as well.
		}
		_ = w.Close()
		f.Add(out.Bytes())
	}
	seed(tar.Header{Name: "etc/file", Typeflag: tar.TypeReg, Mode: 0o644, Size: 10})
	seed(tar.Header{Name: "../../escape", Typeflag: tar.TypeReg, Size: 1})
	seed(tar.Header{Name: "up", Typeflag: tar.TypeSymlink, Linkname: "../../../.."}, tar.Header{Name: "up/escape", Typeflag: tar.TypeReg, Size: 1})
	seed(tar.Header{Name: "hard", Typeflag: tar.TypeLink, Linkname: "/etc/passwd"})
	seed(tar.Header{Name: "etc/.wh.passwd", Typeflag: tar.TypeReg}, tar.Header{Name: "etc/.wh..wh..opq", Typeflag: tar.TypeReg})
	seed(tar.Header{Name: "x", Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.a": "b"}, Size: 3})
	seed(tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}, tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755})
	f.Fuzz(func(t *testing.T, content []byte) {
		around := t.TempDir()
		at := filepath.Join(around, "work")
		if err := os.MkdirAll(filepath.Join(at, "layers"), 0o755); err != nil {
			t.Fatal(err)
		}
		objects, err := openStore(filepath.Join(at, "objects"), filepath.Join(at, "fresh"), &room{})
		if err != nil {
			t.Fatal(err)
		}
		defer objects.close()
		whole := newTree(DefaultBudget())
		whole.root.children["etc"] = newFolder(1)
		whole.root.children["etc"].children["passwd"] = &node{Entry: Entry{Name: "etc/passwd", Kind: KindSymlink, Link: "../x"}, layer: 1}
		err = readLayer(bytes.NewReader(content), &spending{budget: fuzzBudget()}, objects, func(e Entry) error {
			if strings.Contains("/"+string(e.Name)+"/", "/../") || strings.HasPrefix(string(e.Name), "/") {
				t.Fatalf("the name %q leads out", e.Name)
			}
			return whole.apply(2, e)
		})
		var failure core.Failure
		if errors.As(err, &failure) && (failure.Class != core.FailureInvalid || failure.Reason == "" || failure.Message == "") {
			t.Fatalf("a refusal without a reason: %#v", failure)
		}
		b := &builder{ctx: t.Context(), objects: objects, room: &room{}, warn: func(string, ...any) {}}
		_ = b.build(whole, filepath.Join(at, "root")) // An attribute that no file system takes is an error, and nothing worse.
		entries, err := os.ReadDir(around)
		if err != nil || len(entries) != 1 {
			t.Fatalf("something appeared outside: %v %v", entries, err)
		}
	})
}

// FuzzWish reads requests that others wrote, and that no schema has seen: each is understood, or refused.
func FuzzWish(f *testing.F) {
	for _, seed := range []string{
		`{"osVersion":{"imageUri":"oci://r/x:1","debug":true,"upgradeRecovery":false,"digest":"sha256:00"}}`,
		`{"osVersion":{"imageUri":"x","healthChecks":[{"unit":"a.service"},{"command":["true"],"timeout":"1m"},{"tcp":"h:1"}]}}`,
		`{"osVersion":{"imageUri":5}}`, `{"a":{"a":{}}}`, `[1e400]`, "null", "{}", `{"osVersion":{"imageUri":"\ud800"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		_, err := readWish(document)
		if err == nil {
			return
		}
		var failure core.Failure
		if !errors.As(err, &failure) || failure.Class != core.FailureInvalid || failure.Reason == "" || failure.Message == "" {
			t.Fatalf("a refusal without a reason: %v", err)
		}
	})
}

// FuzzEntry writes boot entries and reads them again.
func FuzzEntry(f *testing.F) {
	f.Add("title x\nversion 7\noptions a b\n")
	f.Add("linux\t/x\ninitrd /y\r\n# comment")
	f.Fuzz(func(t *testing.T, content string) {
		entry := readEntry(content)
		text, err := writeEntry(entry)
		if err != nil {
			return
		}
		if again := readEntry(text); again != entry {
			t.Fatalf("%#v became %#v", entry, again)
		}
	})
}
