package main

import (
	"strings"
	"testing"

	"github.com/matryer/is"
)

func TestProgressShowsWhatFailedAndHidesWhatDidNot(t *testing.T) {
	is := is.New(t)
	var out strings.Builder
	err := progress(strings.NewReader(`
{"Action":"run","Package":"elemental/e2e","Test":"TestGood"}
{"Action":"output","Package":"elemental/e2e","Test":"TestGood","Output":"    chatter\n"}
{"Action":"pass","Package":"elemental/e2e","Test":"TestGood","Elapsed":1.25}
{"Action":"output","Package":"elemental/e2e","Test":"TestBad","Output":"    the host did not restart\n"}
{"Action":"fail","Package":"elemental/e2e","Test":"TestBad","Elapsed":2}
{"Action":"fail","Package":"elemental/e2e","Elapsed":4}
`), &out)
	is.True(err != nil)
	is.Equal(out.String(), `pass  elemental/e2e TestGood 1.2s
FAIL  elemental/e2e TestBad 2.0s
    the host did not restart
FAIL  elemental/e2e 4.0s
`)
}

func TestProgressFailsWhenNoTestRan(t *testing.T) {
	is := is.New(t)
	var out strings.Builder
	err := progress(strings.NewReader(`{"Action":"pass","Package":"elemental/e2e","Elapsed":0.1}`), &out)
	is.True(err != nil && strings.Contains(err.Error(), "no test ran"))
	is.Equal(out.String(), "")
}

func TestProgressSaysWhatRunsInnermost(t *testing.T) {
	is := is.New(t)
	var out strings.Builder
	r := report{out: &out, running: map[string]*test{}}
	for _, name := range []string{"", "TestA", "TestA/upgrade", "TestAB"} {
		r.take(event{Action: "run", Package: "elemental/e2e", Test: name})
	}
	r.take(event{Action: "output", Package: "elemental/e2e", Test: "TestAB", Output: "    waiting for the host\n"})
	r.showRunning()
	is.Equal(out.String(), `...   elemental/e2e TestA/upgrade 0s 
...   elemental/e2e TestAB 0s waiting for the host
`)
}

func TestEveryModulePinsItsPrograms(t *testing.T) {
	is := is.New(t)
	home, err := homeOfModules()
	is.NoErr(err)
	for name, modules := range sets {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			_, err := folderOf(modules, home)
			is.NoErr(err)
		})
	}
}
