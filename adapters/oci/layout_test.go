package oci_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/oci"
	"elemental/ports"
)

func TestALayoutOfOneImageNeedsNoTag(t *testing.T) {
	is := is.New(t)
	at := filepath.Join(t.TempDir(), "layout")
	shelf := layoutShelf{architectures{}, at}
	shelf.Put(t, "v1", "amd64", []byte("x"))
	_, err := oci.New(oci.Config{}).Resolve(t.Context(), "oci-layout:"+at, "amd64")
	is.NoErr(err)
	shelf.Put(t, "v2", "amd64", []byte("y"))
	_, err = oci.New(oci.Config{}).Resolve(t.Context(), "oci-layout:"+at, "amd64")
	failure := failureOf(t, err)
	is.Equal(failure.Reason, ports.ReasonMalformedReference)
	is.True(strings.Contains(failure.Message, "v1") && strings.Contains(failure.Message, "v2"))
}

func TestALayoutThatIsNotThereIsNotFound(t *testing.T) {
	is := is.New(t)
	for _, reference := range []string{"oci-layout:/nowhere/at/all:v1", "oci-archive:/nowhere/at/all.tar"} {
		_, err := oci.New(oci.Config{}).Resolve(context.Background(), reference, "amd64")
		is.Equal(failureOf(t, err).Reason, ports.ReasonImageNotFound)
	}
}
