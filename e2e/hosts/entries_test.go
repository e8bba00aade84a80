package hosts

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/matryer/is"
)

func TestChoose(t *testing.T) {
	type file struct{ name, version string }
	for name, c := range map[string]struct {
		files []file
		boots []string // the file name after each boot
	}{
		"the confirmed one": {[]file{{"a.conf", "1"}}, []string{"a.conf", "a.conf"}},
		"a trial, and back when its tries are used up": {
			[]file{{"a.conf", "0001"}, {"b+3.conf", "0002"}},
			[]string{"b+2-1.conf", "b+1-2.conf", "b+0-3.conf", "a.conf", "a.conf"},
		},
		"the higher version as a number":   {[]file{{"a.conf", "9"}, {"b.conf", "10"}}, []string{"b.conf"}},
		"the higher version with padding":  {[]file{{"a.conf", "0010"}, {"b.conf", "0009"}}, []string{"a.conf"}},
		"a bad one where there is no good": {[]file{{"a+0-3.conf", "1"}}, []string{"a+0-3.conf"}},
		"the name where versions are equal": {
			[]file{{"a.conf", "1"}, {"b.conf", "1"}}, []string{"b.conf"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			folder := t.TempDir()
			for _, f := range c.files {
				text := "title A test\nsort-key elemental\nversion " + f.version + "\noptions quiet elemental.deployment=x\noptions splash\n"
				is.NoErr(os.WriteFile(filepath.Join(folder, f.name), []byte(text), 0o644))
			}
			for _, want := range c.boots {
				e, err := choose(folder)
				is.NoErr(err)
				is.Equal(e.file, want)
				is.Equal(e.option("elemental.deployment"), "x")
				_, err = os.Stat(filepath.Join(folder, want))
				is.NoErr(err)
			}
		})
	}
}

func TestChooseFromNothing(t *testing.T) {
	is := is.New(t)
	_, err := choose(t.TempDir())
	is.True(errors.Is(err, errNothingToBoot))
}
