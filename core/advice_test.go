package core

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// told is a host of generation 3 whose conditions are given.
func told(conditions ...Condition) Case {
	return Case{Namespace: "field", Name: "a", Plugin: "image", Standing: Standing{Generation: 3, Conditions: conditions}}
}

// but changes a case.
func (c Case) but(change func(*Case)) Case {
	change(&c)
	return c
}

func node(c *Case)      { c.Bootstrapped = true }
func armedNode(c *Case) { c.Bootstrapped, c.Label, c.Armed = true, LabelPending, true }
func serving(c *Case)   { c.Machine = "m" }

func no(kind, reason string) Condition {
	return Condition{Type: kind, Status: False, Reason: reason, Message: "as the host says", Generation: 3}
}

func yes(kind, reason string) Condition {
	c := no(kind, reason)
	c.Status = True
	return c
}

func TestAdvise(t *testing.T) {
	applied, ready := yes(OSVersionReady, ReasonApplied), yes(Ready, ReasonHostReady)
	old := func(c Condition) Condition { c.Generation--; return c }
	rolledBack, failed := no(OSVersionReady, ReasonRolledBack), no(OSVersionReady, ReasonReconciliationFailed)
	lost := Condition{Type: AgentConnected, Status: Unknown, Reason: ReasonNotSeen}
	working := no(OSVersionReady, ReasonWaitingForOSReconcile)
	forGood := func(c *Case) { c.Outcome = OutcomeFailed }
	later := func(c *Case) {
		c.Outcome, c.Again, c.Next = OutcomeFailed, true, time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	}
	const label = "kubectl label elementalhost -n field a --overwrite elementalhost.infrastructure.cluster.x-k8s.io/in-place-update=pending"

	reached := map[string]bool{}
	for name, c := range map[string]struct {
		of     Case
		health Health
		retry  bool
		does   []string // parts of the steps, in their order
	}{
		"all is well":                       {told(applied, ready), HealthReady, false, nil},
		"nothing is asked":                  {told(yes(OSVersionReady, ReasonNothingRequested), ready), HealthReady, false, nil},
		"well and paused":                   {told(applied, ready, yes(Paused, ReasonPaused)), HealthReady, false, nil},
		"well, and asked to try again":      {told(applied, ready).but(func(c *Case) { c.Retry = "now" }), HealthUpdating, false, []string{"goes on by itself"}},
		"lost while it was at work":         {told(working, lost), HealthUnseen, true, []string{"systemctl status elemental-agent", "journalctl -u elemental-agent"}},
		"lost after it fell back":           {told(rolledBack, lost), HealthUnseen, true, []string{"systemctl status elemental-agent"}},
		"lost, and it ran what is asked":    {told(applied, lost, no(Ready, ReasonNotSeen)), HealthUnseen, false, []string{"systemctl status elemental-agent"}},
		"lost before it answered":           {told(old(applied), lost), HealthUnseen, true, []string{"systemctl status elemental-agent"}},
		"its reset was given up":            {told(no(ResetReady, ReasonResetGivenUp)).but(func(c *Case) { c.Gone = true }), HealthFailed, true, []string{agentLog, "elemental retry a -n field", "force-delete=true"}},
		"it is paused and deleted":          {told(no(ResetReady, ReasonWaitingForReset), Condition{Type: Paused, Status: True, Reason: ReasonPaused}).but(func(c *Case) { c.Gone = true }), HealthPaused, false, []string{"cluster.x-k8s.io/paused-"}},
		"it can't be named":                 {told(no(RegistrationReady, ReasonNameNotSet)), HealthFailed, true, []string{agentLog}},
		"nothing is installed":              {told(no(InstallationReady, ReasonNotInstalled)), HealthWaiting, false, []string{"elemental agent install"}},
		"its policy denies its reset":       {told(no(ResetReady, ReasonPolicyDenied)).but(func(c *Case) { c.Gone = true }), HealthFailed, true, []string{"policy.yaml", "force-delete=true"}},
		"it is gone for good":               {told(no(AgentConnected, ReasonNotSeen)).but(func(c *Case) { c.Gone = true }), HealthUnseen, false, []string{agentLog, "force-delete=true"}},
		"its cloud config failed":           {told(no(InstallationReady, ReasonCloudConfigFailed)), HealthFailed, true, []string{agentLog, "spec.config.cloudConfig"}},
		"its reset failed":                  {told(no(ResetReady, ReasonResetFailed)).but(func(c *Case) { c.Gone = true }), HealthFailed, true, []string{agentLog, "elemental retry a -n field"}},
		"it is reset":                       {told(no(ResetReady, ReasonWaitingForReset)), HealthLeaving, false, []string{"goes on by itself"}},
		"it is deleted":                     {told(applied, ready).but(func(c *Case) { c.Gone = true }), HealthLeaving, false, []string{"goes on by itself"}},
		"it is not known":                   {told(no(RegistrationReady, ReasonRegistrationFailed)), HealthFailed, false, []string{"cluster.namespace must be field and cluster.host must be a"}},
		"installing failed":                 {told(no(InstallationReady, ReasonInstallationFailed)), HealthFailed, true, []string{agentLog, "elemental retry"}},
		"it is installed":                   {told(no(InstallationReady, ReasonWaitingForInstallation)), HealthUpdating, false, []string{"goes on"}},
		"paused":                            {told(working, yes(Paused, ReasonPaused)), HealthPaused, false, []string{"kubectl annotate elementalhost -n field a cluster.x-k8s.io/paused-"}},
		"new":                               {told(), HealthUnclear, false, []string{"kubectl get pods -n elemental-system"}},
		"the agent has not answered":        {told(old(applied), old(ready)), HealthUpdating, false, []string{"goes on"}},
		"what fell back before is not told": {told(old(rolledBack)), HealthUpdating, false, []string{"goes on"}},
		"what Ready says lags behind":       {told(working, no(Ready, ReasonRolledBack)), HealthUpdating, false, []string{"goes on"}},
		"the arming is not taken up":        {told(rolledBack).but(node).but(func(c *Case) { c.Label = LabelPending }), HealthUpdating, false, []string{"goes on"}},
		"it fell back":                      {told(rolledBack), HealthRolledBack, true, []string{"journalctl -b -1", "elemental upgrade host a -n field --image IMAGE", "elemental retry a -n field"}},
		"a node fell back":                  {told(rolledBack).but(node).but(func(c *Case) { c.Label = LabelFailed }), HealthRolledBack, false, []string{"journalctl -b -1", "elemental upgrade", "kubectl drain a ", label}},
		"an armed node fell back":           {told(rolledBack).but(armedNode), HealthRolledBack, true, []string{"journalctl -b -1", "elemental upgrade", "elemental retry"}},
		"one that serves a machine fell":    {told(rolledBack).but(serving), HealthRolledBack, true, []string{"journalctl -b -1", `kubectl patch elementalmachine -n field m --type=merge -p '{"spec":{"osVersionManagement":{"osVersion":{"imageUri":"IMAGE"}}}}'`, "elemental retry"}},
		"invalid":                           {told(no(OSVersionReady, ReasonInvalidOSVersion)).but(func(c *Case) { c.Path = "osVersion.imageUrl" }), HealthFailed, false, []string{"field osVersion.imageUrl", "elemental upgrade host a"}},
		"invalid, of another plugin":        {told(no(OSVersionReady, ReasonInvalidOSVersion)).but(func(c *Case) { c.Plugin = "packages" }), HealthFailed, false, []string{"kubectl edit elementalhost -n field a"}},
		"invalid, and the machine asked":    {told(no(OSVersionReady, ReasonInvalidOSVersion)).but(serving).but(func(c *Case) { c.Plugin = "" }), HealthFailed, false, []string{"kubectl edit elementalmachine -n field m"}},
		"denied":                            {told(no(OSVersionReady, ReasonPolicyDenied)), HealthFailed, true, []string{"policy lies on the host", "elemental upgrade", "elemental retry"}},
		"failed for good":                   {told(failed).but(forGood), HealthFailed, true, []string{agentLog, "elemental retry a -n field"}},
		"a node failed for good":            {told(failed).but(forGood).but(node), HealthFailed, false, []string{agentLog, "kubectl drain a", label}},
		"failed for now":                    {told(failed).but(later), HealthRetrying, true, []string{"tried again at 2030-01-02T03:04:05Z", "elemental retry"}},
		"failed, and no time is named":      {told(failed), HealthRetrying, true, []string{"tried again by itself", "elemental retry"}},
		"a node that is not armed":          {told(no(OSVersionReady, ReasonNotPending)).but(node), HealthWaiting, false, []string{"kubectl drain a --ignore-daemonsets", label}},
		"draining failed":                   {told(no(NodeDrained, ReasonDrainFailed), no(OSVersionReady, ReasonWaitingForDrain)).but(armedNode).but(serving), HealthWaiting, false, []string{"kubectl drain a", `-n field m --type=merge -p '{"spec":{"inPlaceUpdate":{"drain":"Manual"}}}'`}},
		"it waits for the drain":            {told(no(OSVersionReady, ReasonWaitingForDrain)).but(armedNode), HealthWaiting, false, []string{"kubectl drain a"}},
		"it restarts":                       {told(no(OSVersionReady, ReasonWaitingForReboot)), HealthUpdating, true, []string{"systemd-inhibit --list"}},
		"it did not join":                   {told(applied, no(BootstrapReady, ReasonBootstrapFailed)), HealthFailed, true, []string{"journalctl -b -u cloud-final -u kubelet", "elemental retry"}},
		"it joins":                          {told(applied, no(BootstrapReady, ReasonWaitingForBootstrap)), HealthUpdating, false, []string{"goes on"}},
		"it is at work":                     {told(working), HealthUpdating, false, []string{"goes on"}},
		"the controller has not confirmed":  {told(applied, old(ready)), HealthUpdating, false, []string{"kubectl get pods"}},
		"it says what is not known":         {told(applied, no(NodeDrained, "OfTheFuture")), HealthUnclear, false, []string{"kubectl describe elementalhost -n field a"}},
		"names that no cluster should have": {told(rolledBack).but(func(c *Case) { c.Name = "a;'$(x)" }), HealthRolledBack, true, []string{"journalctl", `upgrade host 'a;'\''$(x)' -n`, `retry 'a;'\''$(x)' -n`}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			advice := Advise(c.of)
			reached[advice.Because] = true
			is.Equal(advice.Health, c.health)
			is.Equal(advice.Retry, c.retry)
			is.True(slices.Contains(Healths(), advice.Health))
			var all []string
			for _, s := range advice.Steps {
				all = append(all, s.Text+" "+s.Command)
			}
			text := strings.Join(all, "\n")
			is.Equal(len(c.does) == 0, len(all) == 0)
			at := 0
			for _, part := range c.does {
				found := strings.Index(text[at:], part)
				if found < 0 {
					t.Fatalf("%q does not follow in:\n%s", part, text)
				}
				at += found
			}
		})
	}
	for _, row := range counsels {
		if !reached[row.because] {
			t.Errorf("no case reaches the row %q", row.because)
		}
	}
}

// TestAdviceIsComplete holds that whatever a host can show is known to the table.
func TestAdviceIsComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "condition.go", nil, 0)
	is.New(t).NoErr(err)
	reasons := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		is.New(t).NoErr(err)
		reasons++
		if !slices.ContainsFunc(counsels, func(row counsel) bool { return slices.Contains(row.shows, reason) }) {
			t.Errorf("no row of the advice knows the reason %s: say what a person should do about it", reason)
		}
		return true
	})
	is.New(t).True(reasons > 25) // condition.go was read
}
