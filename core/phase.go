package core

import (
	"fmt"
	"slices"
	"strings"
)

// Phase is what a user sees first of a host: which part of its life it is in. It is derived from
// what is observed now and never remembered.
type Phase string

// The phases of a host's life.
const (
	PhaseRegistering            Phase = "Registering"
	PhaseFinalizingRegistration Phase = "Finalizing Registration"
	PhaseInstalling             Phase = "Installing"
	PhaseBootstrapping          Phase = "Bootstrapping"
	PhaseRunning                Phase = "Running"
	PhaseReconcilingOSVersion   Phase = "Reconciling OS Version"
	PhaseTriggeringReset        Phase = "Triggering Reset"
	PhaseResetting              Phase = "Resetting"
)

// Phases lists every phase in the order of a host's life.
func Phases() []Phase {
	return []Phase{
		PhaseRegistering, PhaseFinalizingRegistration, PhaseInstalling, PhaseBootstrapping,
		PhaseRunning, PhaseReconcilingOSVersion, PhaseTriggeringReset, PhaseResetting,
	}
}

//go:generate go test -run TestPhasesDocument . -rewrite

// legalPhases says which phases may follow which. Nothing decides by it: tests hold every decision
// against it, and docs/phases.md is printed from it.
var legalPhases = map[Phase][]Phase{
	PhaseRegistering:            {PhaseFinalizingRegistration, PhaseInstalling, PhaseBootstrapping, PhaseRunning, PhaseReconcilingOSVersion, PhaseTriggeringReset, PhaseResetting},
	PhaseFinalizingRegistration: {PhaseRegistering, PhaseInstalling, PhaseBootstrapping, PhaseRunning, PhaseReconcilingOSVersion, PhaseTriggeringReset},
	PhaseInstalling:             {PhaseRegistering, PhaseFinalizingRegistration, PhaseBootstrapping, PhaseRunning, PhaseReconcilingOSVersion, PhaseTriggeringReset, PhaseResetting},
	PhaseBootstrapping:          {PhaseRegistering, PhaseRunning, PhaseReconcilingOSVersion, PhaseTriggeringReset},
	PhaseRunning:                {PhaseRegistering, PhaseFinalizingRegistration, PhaseBootstrapping, PhaseReconcilingOSVersion, PhaseTriggeringReset, PhaseResetting},
	PhaseReconcilingOSVersion:   {PhaseRegistering, PhaseFinalizingRegistration, PhaseBootstrapping, PhaseRunning, PhaseTriggeringReset},
	PhaseTriggeringReset:        {PhaseRegistering, PhaseFinalizingRegistration, PhaseBootstrapping, PhaseRunning, PhaseReconcilingOSVersion, PhaseResetting},
	PhaseResetting:              {PhaseRegistering, PhaseFinalizingRegistration, PhaseRunning, PhaseReconcilingOSVersion, PhaseTriggeringReset},
}

// MayFollow says whether a host that was seen in one phase may be seen in the next. The empty phase
// is a host that was not seen before: anything may follow it.
func MayFollow(before, after Phase) bool {
	return before == "" || before == after || slices.Contains(legalPhases[before], after)
}

// PhaseDiagram prints the legal transitions as a Mermaid state diagram.
func PhaseDiagram() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n    [*] --> Registering\n")
	for _, p := range Phases() {
		fmt.Fprintf(&b, "    state %q as %s\n", string(p), mermaidName(p))
	}
	for _, from := range Phases() {
		for _, to := range legalPhases[from] {
			fmt.Fprintf(&b, "    %s --> %s\n", mermaidName(from), mermaidName(to))
		}
	}
	return b.String()
}

func mermaidName(p Phase) string { return strings.ReplaceAll(string(p), " ", "") }
