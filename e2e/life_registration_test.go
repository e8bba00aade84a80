package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"elemental/e2e/hosts"
	"elemental/e2e/lab"
)

// TestLifeRegistrationDeleted tells how hosts outlive the registration that they came through, and how nobody new comes
// through one that is gone.
func TestLifeRegistrationDeleted(t *testing.T) {
	t.Parallel()
	s := newSettingLike(t, func(l *lab.Lab) { l.ControllerManager = true })
	defer told(t, time.Now())
	const spec = `{"approval":"Auto","hostLabels":{"site":"north"},"hostAnnotations":{"example.com/rack":"7"}}`
	g := s.newGate(t, spec)
	medium := g.medium("")
	medium.Hostname = map[string]any{"useExisting": true} // All of them run on one system, which none of them is to rename.
	st := g.only(g.start(medium), nil)
	g.eventually("its request has served", func() bool { return len(g.names("elementalhostrequests")) == 0 })
	g.kubectl("patch", "elementalregistration", "field", "--type=merge", "-p", `{"spec":{"approval":"Manual"}}`)
	waits := g.start(medium)
	g.eventually("another waits", func() bool { return strings.Contains(waits.Log(), "WaitingForApproval") })
	marks := func() string {
		return st.mustKubectl("get", "elementalhost", st.name, "-o", "jsonpath={.metadata.uid} {.spec.pubKey} {.metadata.labels} {.metadata.annotations}")
	}
	before := marks()
	st.contains("the host", before, `"site":"north"`, `"example.com/rack":"7"`, `elementalregistration.infrastructure.cluster.x-k8s.io/name":"field"`)

	g.kubectl("delete", "elementalregistration", "field")
	g.eventually("all that it owned is gone", func() bool {
		return !strings.Contains(strings.Join(g.names("serviceaccounts,roles,rolebindings,secrets"), " "), "elemental-reg-field")
	})

	// The host goes on: it does what it is asked, says so, and renews its token, also when its agent starts anew.
	st.patch(`{"said":"without a registration"}`)
	st.waitReady()
	token := g.tokenOf(st.process)
	st.process.KillAgent()
	if err := st.process.WaitStarts(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	g.eventually("it has renewed its token", func() bool { return g.tokenOf(st.process) != token })
	st.patch(`{"said":"with another token"}`)
	st.waitReady()
	st.equal("the host", marks(), before)
	st.equal("AgentConnected", st.await("it is ready", host.ready).condition("AgentConnected").Status, "True")

	// Whoever waits is told why, by the cluster and on the host; so is whoever comes now.
	answer := `jsonpath={.items[*].status.conditions[?(@.type=="Admitted")].message}`
	g.eventually("its request says so", func() bool {
		return strings.Contains(g.kubectl("get", "elementalhostrequests", "-o", answer), `there is no ElementalRegistration "field" in this namespace any more; make it again, or delete this request`)
	})
	comes := g.start(medium)
	for _, p := range []*hosts.Process{waits, comes} {
		g.eventually("it says what it lacks", func() bool {
			return strings.Contains(p.Log(), "the token of registration field is not valid any more: hand this host a new configuration")
		})
	}
	st.equal("the number of hosts", len(g.names("elementalhosts")), 1)
	st.equal("the number of requests", len(g.names("elementalhostrequests")), 1)

	// One that is made again under its name takes all of them up, once they have its token.
	err := s.Apply(t.Context(), `{"apiVersion":"infrastructure.cluster.x-k8s.io/v1beta1","kind":"ElementalRegistration","metadata":{"name":"field","namespace":"`+g.namespace+`"},"spec":`+spec+`}`)
	if err != nil {
		t.Fatal(err)
	}
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalregistration/field")
	again := g.medium("")
	for _, p := range []*hosts.Process{waits, comes} {
		file := filepath.Join(filepath.Dir(p.WorkDir()), "agent.yaml")
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(file, []byte(strings.ReplaceAll(string(text), medium.Registration["token"], again.Registration["token"])), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	g.eventually("all are hosts", func() bool {
		return len(g.names("elementalhosts")) == 3 && len(g.names("elementalhostrequests")) == 0
	})
	g.kubectl("wait", "--for=condition=ready", "--timeout=60s", "elementalhosts", "--all")
	g.eventually("all are counted", func() bool {
		return g.kubectl("get", "elementalregistration", "field", "-o", "jsonpath={.status.hosts}") == "3"
	})
	st.equal("the host", marks(), before)
}
