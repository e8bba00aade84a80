package cloudinit

import (
	"encoding/json"
	"testing"

	"github.com/matryer/is"
)

// TestRefusesNamesThatDifferInCase sees that nothing is applied that was not judged: Ignition takes Disks for disks.
func TestRefusesNamesThatDifferInCase(t *testing.T) {
	for _, config := range []string{
		`{"ignition":{"version":"3.0.0"},"storage":{"Files":[{"path":"/a","contents":{"source":"data:,s3cret"}}]}}`,
		`{"ignition":{"version":"3.0.0"},"Storage":{"files":[{"path":"/a","contents":{"source":"data:,s3cret"}}]}}`,
		`{"ignition":{"version":"3.0.0"},"\u017ftorage":{"disks":[{"device":"s3cret"}]}}`,
		`{"ignition":{"version":"3.0.0"},"\u212aernelArguments":{}}`,
		`{"ignition":{"version":"3.0.0"},"storage":{"files":[{"Path":"/a"}]}}`,
		`{"ignition":{"version":"3.0.0"},"storage":{"files":[{"path":"/a"}]},"storage":{"disks":[]}}`,
		`{"ignition":{"version":"3.0.0"},"PASSWD":{"users":[{"name":"s3cret"}]}}`,
	} {
		s := withIgnition(t)
		s.fails(s.bootstrap("ignition", config), "InvalidBootstrapData")
	}
	is.New(t).NoErr(withIgnition(t).bootstrap("ignition", `{"ignition":{"version":"3.0.0"},"storage":{"files":[null,{"path":"/a","mode":420}],"directories":null}}`))
}

// FuzzIgnitionConfig holds that no config makes it panic, and that what is written is as well judged as what was read.
func FuzzIgnitionConfig(f *testing.F) {
	f.Add([]byte(joinConfig))
	f.Add([]byte(`{"ignition":{"version":"3.0.0"},"storage":{"Files":[{"contents":{"source":""}}]}}`))
	f.Add([]byte(`{"ignition":{"version":"3.0.0"},"storage":{"files":[null,{"path":"/a","mode":1e3,"contents":{"source":""}}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		is := is.New(t)
		config, err := parseIgnition(data)
		if err != nil {
			return
		}
		text, err := config.overwriting()
		is.NoErr(err)
		is.True(json.Valid(text))
		again, err := parseIgnition(text)
		is.NoErr(err)
		is.Equal(len(again.files()), len(config.files()))
		for i, file := range again.files() {
			is.Equal(file.Overwrite, config.files()[i].Overwrite || file.Contents.Source != nil)
		}
	})
}
