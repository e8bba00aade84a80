package cli

import (
	"strings"
	"testing"

	"github.com/matryer/is"
	"github.com/urfave/cli/v2"
)

// parts is a program with one command of each kind.
func parts() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}}, &cli.StringFlag{Name: "token"},
		&cli.BoolFlag{Name: "all", Aliases: []string{"A"}}, &cli.BoolFlag{Name: "watch", Aliases: []string{"w"}},
	}
	return &cli.Command{Name: "elemental", Subcommands: []*cli.Command{
		{Name: "hosts", ArgsUsage: "[NAME...]", Flags: flags},
		{Name: "upgrade", Subcommands: []*cli.Command{{
			Name: "host", ArgsUsage: "NAME", Flags: append([]cli.Flag{&cli.StringFlag{Name: "image"}}, flags[:2]...),
		}}},
		{Name: "raw", SkipFlagParsing: true},
		{Name: "version"},
	}}
}

func TestFlagsStandAnywhere(t *testing.T) {
	for typed, understood := range map[string]string{
		"hosts":                              "hosts --",
		"--token x hosts -n y":               "hosts --token=x --namespace=y --",
		"-ny hosts":                          "hosts --namespace=y --",
		"hosts -n=y":                         "hosts --namespace=y --",
		"hosts -Awny a -- -b --all":          "hosts --all=true --watch=true --namespace=y -- a -b --all",
		"hosts --all=false":                  "hosts --all=false --",
		"hosts - a":                          "hosts -- - a",
		"hosts hosts version":                "hosts -- hosts version",
		"upgrade host a --image i -n y":      "upgrade host --image=i --namespace=y -- a",
		"upgrade --image i host -n y a":      "upgrade host --image=i --namespace=y -- a",
		"upgrade host --image --token a":     "upgrade host --image=--token -- a",
		"upgrade host --image= -- host":      "upgrade host --image= -- host",
		"raw --anything -x -- a":             "raw --anything -x -- a",
		"raw":                                "raw",
		"hosts --namespace a=b -n c --token": "--token needs a value",
		"hots":                               `elemental has no command "hots"; did you mean hosts?`,
		"levitate":                           `elemental has no command "levitate"`,
		"upgrade hots":                       `elemental upgrade has no command "hots"; did you mean host?`,
		"upgrade":                            "elemental upgrade needs to know what: host",
		"--token secret":                     "elemental needs to know what: hosts, upgrade, raw, version",
		"upgrade host":                       "elemental upgrade host needs one argument, NAME",
		"upgrade host a b":                   "elemental upgrade host needs one argument, NAME, and not 2",
		"upgrade host a --all":               "elemental upgrade host has no flag --all",
		"--imgae i upgrade host a":           "elemental has no flag --imgae; did you mean --image?",
		"upgrade host a -image i":            "elemental upgrade host has no flag -image; did you mean --image?",
		"hosts -Ax":                          "elemental hosts has no flag -x",
		"hosts --tokn=secret":                "elemental hosts has no flag --tokn; did you mean --token?",
		"hosts -token=secret":                "elemental hosts has no flag -token; did you mean --token?",
		"--version":                          "elemental has no flag --version; did you mean elemental version?",
		"host a":                             `elemental has no command "host"; did you mean elemental upgrade host?`,
		"hosts --all=maybe":                  `--all is "maybe": it must be true or false`,
		"version x":                          `elemental version takes no arguments, and "x" is one`,
	} {
		t.Run(typed, func(t *testing.T) {
			is := is.New(t)
			l := read(parts(), strings.Fields(typed))
			if l.wrong != nil {
				is.Equal(l.wrong.Error(), understood)
				return
			}
			is.Equal(strings.Join(l.forLibrary(), " "), understood)
		})
	}
	for _, typed := range []string{"--help", "-h", "hosts a --help", "upgrade host -h"} {
		is.New(t).True(read(parts(), strings.Fields(typed)).help)
	}
	is.New(t).True(!read(parts(), []string{"hosts", "--", "--help"}).help)
	is.New(t).Equal(read(parts(), []string{"hosts", "-n", "--help"}).flags[0].value, "--help") // it is the namespace's name
}

func TestProgramName(t *testing.T) {
	for path, name := range map[string]string{
		"elemental": "elemental", "/usr/bin/elemental": "elemental", "bin/elemental-v2": "elemental",
		"/usr/local/bin/kubectl-elemental": "kubectl elemental", "kubectl-elemental.exe": "kubectl elemental",
	} {
		is.New(t).Equal(ProgramName(path), name)
	}
}

func TestHelpIsForTheProgramThatWasCalled(t *testing.T) {
	is := is.New(t)
	var out strings.Builder
	app := &cli.App{
		Name: "kubectl elemental", Usage: "keep hosts", Writer: &out, ErrWriter: &out, ExitErrHandler: func(*cli.Context, error) {},
		Commands: append(commands(nil, nil), general("v1", nil, nil)...),
	}
	is.NoErr(Run(t.Context(), app, []string{"kubectl-elemental", "help", "upgrade", "host"}))
	is.True(strings.Contains(out.String(), "\n    kubectl elemental upgrade host "))
	is.True(!strings.Contains(out.String(), "    elemental ")) // neither in the synopsis nor in the examples
	err := Run(t.Context(), app, []string{"kubectl-elemental", "upgrad"})
	is.Equal(err.Error(), `kubectl elemental has no command "upgrad"; did you mean upgrade? See kubectl elemental --help`)
}
