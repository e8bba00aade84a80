package core

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"
)

func rewriting() bool {
	f := flag.Lookup("rewrite") // The flag is datadriven's.
	return f != nil && f.Value.String() == "true"
}

func TestPhasesDocument(t *testing.T) {
	is := is.New(t)
	var b strings.Builder
	b.WriteString("# The phases of a host\n\n<!-- Printed from core by `make generate`: change the tables there. -->\n\n")
	b.WriteString("A phase is what a host is seen in; it is derived from what is true of the host, never remembered.\n\n")
	b.WriteString("```mermaid\n" + PhaseDiagram() + "```\n\n## What a host does next\n\n")
	b.WriteString("The first of these that applies is what happens, and its words are what the agent logs.\n\n")
	for _, r := range rules {
		b.WriteString("1. " + r.because + "\n")
	}
	const path = "../docs/phases.md"
	if rewriting() {
		is.NoErr(os.MkdirAll("../docs", 0o755))
		is.NoErr(os.WriteFile(path, []byte(b.String()), 0o644))
	}
	printed, err := os.ReadFile(path)
	is.NoErr(err)
	is.Equal(string(printed), b.String()) // docs/phases.md is stale: run make generate.
}

func TestEveryPhaseIsReachedAndLeft(t *testing.T) {
	is := is.New(t)
	entered := map[Phase]bool{PhaseRegistering: true}
	for from, next := range legalPhases {
		is.True(len(next) > 0)
		for _, to := range next {
			is.True(from != to)
			entered[to] = true
		}
	}
	for _, p := range Phases() {
		is.True(entered[p])
		is.True(MayFollow("", p))
	}
	is.True(!MayFollow(PhaseBootstrapping, PhaseResetting))
}
