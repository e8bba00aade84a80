package portstest_test

import (
	"testing"

	"elemental/core"
	"elemental/ports"
	"elemental/ports/portstest"
)

func TestJournal(t *testing.T) {
	portstest.TestJournal(t, func(*testing.T) portstest.JournalCase {
		j := &portstest.Journal{}
		return portstest.JournalCase{Journal: j, Reopen: func() ports.Journal { return j }}
	})
}

func TestMachine(t *testing.T) {
	portstest.TestMachine(t, func(*testing.T) portstest.MachineCase {
		m := &portstest.Machine{}
		return portstest.MachineCase{Machine: m, Join: m.Join}
	})
}

func TestSupervisor(t *testing.T) {
	portstest.TestSupervisor(t, func(*testing.T) portstest.SupervisorCase {
		s := &portstest.Supervisor{}
		return portstest.SupervisorCase{Supervisor: s, Told: s.Told}
	})
}

func TestRegistrar(t *testing.T) {
	portstest.TestRegistrar(t, func(*testing.T) portstest.RegistrarCase {
		r := &portstest.Registrar{}
		return portstest.RegistrarCase{
			Registrar: r, Reopen: func() ports.Registrar { return r },
			Hold: func() { r.Hold("WaitingForApproval") }, Approve: func() { r.Hold("") }, Refuse: r.Refuse, Change: r.Change,
		}
	})
}

func TestCluster(t *testing.T) {
	portstest.TestCluster(t, func(*testing.T) portstest.ClusterCase {
		c := &portstest.Cluster{}
		return portstest.ClusterCase{
			Cluster: c, Create: c.Ask, Ask: c.Ask,
			Arm:    func() { c.Wish(func(w *ports.Wish) { w.Armed = true }) },
			Delete: func() { c.Wish(func(w *ports.Wish) { *w = ports.Wish{} }) },
			Writes: func() int { return len(c.Reports()) },
			Shown: func(kind string) (core.Condition, bool) {
				reports := c.Reports()
				return core.Find(reports[len(reports)-1].Conditions, kind)
			},
		}
	})
}
