package operator_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"

	"elemental/adapters/kubernetes/operator"
	"elemental/ports"
)

func TestClusterWithoutTheKindIsToldAsThat(t *testing.T) {
	is := is.New(t)
	bare := httptest.NewServer(http.NotFoundHandler()) // as an API server answers for a path that it does not know
	t.Cleanup(bare.Close)
	f := flags("", "", "default")
	*f.APIServer = bare.URL
	client, err := operator.New(f)
	is.NoErr(err)
	for _, names := range [][]string{nil, {"a"}, {"a", "b"}} {
		_, err := client.List(t.Context(), ports.Selection{Names: names})
		is.True(err != nil && strings.Contains(err.Error(), "install Elemental's custom resources"))
		is.True(err != nil && strings.Count(err.Error(), "\n") == 0)
	}
}
