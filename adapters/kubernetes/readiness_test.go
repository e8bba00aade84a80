package kubernetes

import (
	"testing"

	"github.com/matryer/is"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

func TestAMachineNeverSpeaksBeforeItsHost(t *testing.T) {
	type pair struct {
		machine *v1beta1.ElementalMachine
		host    *v1beta1.ElementalHost
	}
	caughtUp := func() pair {
		return pair{
			&v1beta1.ElementalMachine{
				ObjectMeta: metav1.ObjectMeta{Name: "edge-1", UID: "m", Generation: 7},
				Spec:       v1beta1.ElementalMachineSpec{HostRef: &v1beta1.ObjectReference{Name: "one"}, OSVersionManagement: osVersion("v2")},
				Status:     v1beta1.ElementalMachineStatus{Conditions: []metav1.Condition{{Type: core.Ready, Status: "True", ObservedGeneration: 6}}},
			},
			&v1beta1.ElementalHost{
				ObjectMeta: metav1.ObjectMeta{Name: "one", Generation: 3, Annotations: map[string]string{v1beta1.AnnotationForwardedFrom: "m/7"}},
				Spec:       v1beta1.ElementalHostSpec{OSVersionManagement: osVersion("v2")},
				Status: v1beta1.ElementalHostStatus{Conditions: []metav1.Condition{
					{Type: core.Ready, Status: "True", Reason: core.ReasonHostReady, ObservedGeneration: 3},
				}},
			},
		}
	}
	says := func(p pair, reason string) {
		p.host.Status.Conditions[0].Status, p.host.Status.Conditions[0].Reason = "False", reason
	}
	for name, row := range map[string]struct {
		change     func(*pair)
		status     core.ConditionStatus
		reason     string
		generation int64
	}{
		"the host is ready for this very wish":              {func(*pair) {}, core.True, core.ReasonHostReady, 7},
		"the wish was not forwarded":                        {func(p *pair) { p.machine.Generation = 8 }, core.False, core.ReasonWaitingForOSReconcile, 6},
		"nothing ever was":                                  {func(p *pair) { p.host.Annotations = nil }, core.False, core.ReasonWaitingForOSReconcile, 6},
		"the note of it is damaged":                         {func(p *pair) { p.host.Annotations[v1beta1.AnnotationForwardedFrom] = "m" }, core.False, core.ReasonWaitingForOSReconcile, 6},
		"the host's spec is another, whatever the note":     {func(p *pair) { p.host.Spec.OSVersionManagement = osVersion("v1") }, core.False, core.ReasonWaitingForOSReconcile, 6},
		"the host has not answered for its spec":            {func(p *pair) { p.host.Generation = 4 }, core.False, core.ReasonWaitingForOSReconcile, 6},
		"the host says nothing at all":                      {func(p *pair) { p.host.Status.Conditions = nil }, core.False, core.ReasonWaitingForOSReconcile, 6},
		"a ready that spoke of this generation is withheld": {func(p *pair) { p.host.Generation, p.machine.Status.Conditions[0].ObservedGeneration = 4, 7 }, core.False, core.ReasonWaitingForOSReconcile, 6},
		"the host serves another":                           {func(p *pair) { p.host.Annotations[v1beta1.AnnotationForwardedFrom] = "other/7" }, core.False, core.ReasonNoHost, 7},
		"the host is gone":                                  {func(p *pair) { p.host = nil }, core.False, core.ReasonHostNotFound, 7},
		"there was none":                                    {func(p *pair) { p.host, p.machine.Spec.HostRef = nil, nil }, core.False, core.ReasonNoHost, 7},
		"the host was rolled back":                          {func(p *pair) { says(*p, core.ReasonRolledBack) }, core.False, core.ReasonRolledBack, 7},
		"the host is being installed":                       {func(p *pair) { says(*p, core.ReasonWaitingForInstallation) }, core.False, core.ReasonHostWaitsForInstall, 7},
		"the host waits to be bootstrapped":                 {func(p *pair) { says(*p, core.ReasonWaitingForBootstrap) }, core.False, core.ReasonHostWaitsForBootstrap, 7},
		"the host was given its bootstrap data only": {func(p *pair) { p.host.Spec.BootstrapSecret = &v1beta1.ObjectReference{Name: "data"} },
			core.False, core.ReasonHostWaitsForBootstrap, 7},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			p := caughtUp()
			row.change(&p)
			got := hostReady(p.machine, p.host)
			is.Equal(got.Status, row.status)
			is.Equal(got.Reason, row.reason)
			is.Equal(got.Generation, row.generation)
			is.True(got.Message != "")
		})
	}
}
