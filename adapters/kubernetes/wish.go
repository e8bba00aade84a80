package kubernetes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
)

// wish is what a host's metadata and spec should be. It is made from the host as it is, so that whatever is
// not the controller's to say stays.
type wish struct {
	labels      map[string]string
	annotations map[string]string
	finalizers  []string
	spec        v1beta1.ElementalHostSpec
}

// wishFor says what a host's metadata and spec should be, given the machine that it serves (nil: none), and what becomes
// of it if it was told to be reset. Until it was, what it served last stays on it, and no machine gives it anything.
func wishFor(host *v1beta1.ElementalHost, machine *v1beta1.ElementalMachine, parting core.Parting) wish {
	w := unchanged(host)
	if host.DeletionTimestamp.IsZero() && !held(host) {
		w.finalizers = append(w.finalizers, v1beta1.Finalizer)
	}
	if host.ResetReport() == "" { // Whatever comes next is another.
		delete(w.annotations, v1beta1.AnnotationResetTaken)
	}
	said := fromConditions(host.Status.Conditions)
	mark(w.labels, v1beta1.LabelInstalled, core.IsInstalled(marked(host, v1beta1.LabelInstalled), said))
	mark(w.labels, v1beta1.LabelBootstrapped, core.IsBootstrapped(marked(host, v1beta1.LabelBootstrapped), said))
	if w.labels[v1beta1.LabelBootstrapped] != "" {
		delete(w.labels, v1beta1.LabelReset)
	}
	w.judge(host, updateOf(host, machine))
	switch parting {
	case core.PartingNone:
		w.serve(host, machine)
	case core.PartingFresh:
		w.free(host)
	case core.PartingWaits, core.PartingGoes:
	}
	return w
}

func unchanged(host *v1beta1.ElementalHost) wish {
	w := wish{maps.Clone(host.Labels), maps.Clone(host.Annotations), slices.Clone(host.Finalizers), *host.Spec.DeepCopy()}
	if w.labels == nil {
		w.labels = map[string]string{}
	}
	if w.annotations == nil {
		w.annotations = map[string]string{}
	}
	return w
}

// free lets go of all that a host was before it was reset, so that any machine may take it. What its machine asked for
// goes with the machine: a free host keeps the version that it runs. What its owner asked for stays.
func (w *wish) free(host *v1beta1.ElementalHost) {
	_, served := w.annotations[v1beta1.AnnotationForwardedFrom]
	if served {
		w.spec.OSVersionManagement = nil
	}
	if served || host.Spec.MachineRef != nil {
		w.leave()
	}
	w.spec.MachineRef, w.spec.BootstrapSecret = nil, nil
	for _, label := range []string{v1beta1.LabelNeedsReset, v1beta1.LabelBootstrapped, v1beta1.LabelInPlaceUpdate} {
		delete(w.labels, label)
	}
	delete(w.annotations, v1beta1.AnnotationJudged)
	w.labels[v1beta1.LabelReset] = v1beta1.LabelValueTrue
	w.annotations[v1beta1.AnnotationResetTaken] = host.ResetReport()
}

// leave takes away what names the machine that a host served last.
func (w *wish) leave() {
	delete(w.annotations, v1beta1.AnnotationForwardedFrom)
	for _, label := range []string{v1beta1.LabelElementalMachineName, v1beta1.LabelMachineName, v1beta1.LabelClusterName} {
		delete(w.labels, label)
	}
}

// held says whether the host's object stays until the controller lets it go.
func held(host *v1beta1.ElementalHost) bool {
	return slices.Contains(host.Finalizers, v1beta1.Finalizer)
}

// judge ends an in-place update that has succeeded or failed, and notes by which outcome: until the agent tells
// of another, that one is not to end the next update, too.
func (w *wish) judge(host *v1beta1.ElementalHost, u core.Update) {
	next := core.NextLabel(u)
	if next == u.Label {
		return
	}
	w.labels[v1beta1.LabelInPlaceUpdate] = string(next)
	w.annotations[v1beta1.AnnotationJudged] = verdict(host.Status.OSVersion)
}

// verdict tells one outcome from all others of the same host.
func verdict(v *v1beta1.OSVersionStatus) string {
	began := ""
	if v.LastAttemptTime != nil {
		began = v.LastAttemptTime.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s,%d,%s,%s", v.Outcome, v.Attempts, began, v.Requested)
}

// serve puts on the host what its machine asks for. Without a machine, what the controller put there for
// the last one is taken away; the version that was asked for last stays.
func (w *wish) serve(host *v1beta1.ElementalHost, machine *v1beta1.ElementalMachine) {
	if machine != nil {
		put(w.labels, v1beta1.LabelElementalMachineName, machine.Name)
		put(w.labels, v1beta1.LabelMachineName, ownerName(machine))
		put(w.labels, v1beta1.LabelClusterName, machine.Labels[v1beta1.LabelClusterName])
		w.annotations[v1beta1.AnnotationForwardedFrom] = forwardedFrom(machine)
		w.spec.OSVersionManagement = machine.Spec.OSVersionManagement
		return
	}
	if _, served := w.annotations[v1beta1.AnnotationForwardedFrom]; served && host.Spec.MachineRef == nil {
		w.leave()
	}
}

// forwardedFrom names the wishes of a machine, at their generation.
func forwardedFrom(machine *v1beta1.ElementalMachine) string {
	return string(machine.UID) + "/" + strconv.FormatInt(machine.Generation, 10)
}

// operation is one step of a JSON patch.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// patch is the JSON patch that makes the wish true of the host, and nil where it is true already. It
// replaces osVersionManagement whole: a merge would keep what someone else once put there.
func (w wish) patch(host *v1beta1.ElementalHost) ([]byte, error) {
	var operations []operation
	if !equalMaps(w.labels, host.Labels) {
		operations = append(operations, operation{"add", "/metadata/labels", w.labels})
	}
	if !equalMaps(w.annotations, host.Annotations) {
		operations = append(operations, operation{"add", "/metadata/annotations", w.annotations})
	}
	if !slices.Equal(w.finalizers, host.Finalizers) {
		operations = append(operations, operation{"add", "/metadata/finalizers", w.finalizers})
	}
	operations = append(operations, w.specPatch(host)...)
	if operations == nil {
		return nil, nil
	}
	// A host that changed since it was read is a conflict, not a host to be overwritten.
	operations = append(operations, operation{"replace", "/metadata/resourceVersion", host.ResourceVersion})
	patch, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("writing the patch of ElementalHost %s/%s: %w", host.Namespace, host.Name, err)
	}
	return patch, nil
}

func (w wish) specPatch(host *v1beta1.ElementalHost) []operation {
	var operations []operation
	put := func(field string, value any) {
		operations = append(operations, operation{"add", "/spec/" + field, value})
	}
	drop := func(field string) { operations = append(operations, operation{"remove", "/spec/" + field, nil}) }
	switch {
	case sameVersion(w.spec.OSVersionManagement, host.Spec.OSVersionManagement):
	case absent(w.spec.OSVersionManagement):
		drop("osVersionManagement")
	default:
		put("osVersionManagement", json.RawMessage(w.spec.OSVersionManagement.Raw))
	}
	for field, ref := range map[string]struct{ wanted, is *v1beta1.ObjectReference }{
		"machineRef": {w.spec.MachineRef, host.Spec.MachineRef}, "bootstrapSecret": {w.spec.BootstrapSecret, host.Spec.BootstrapSecret},
	} {
		switch {
		case equality.Semantic.DeepEqual(ref.wanted, ref.is):
		case ref.wanted == nil:
			drop(field)
		default:
			put(field, ref.wanted)
		}
	}
	if operations != nil && equality.Semantic.DeepEqual(host.Spec, v1beta1.ElementalHostSpec{}) { // There may be no spec to add to.
		return []operation{{"add", "/spec", w.spec}}
	}
	return operations
}

// updateOf puts into the core's words what is known of a host's in-place update.
func updateOf(host *v1beta1.ElementalHost, machine *v1beta1.ElementalMachine) core.Update {
	said := fromConditions(host.Status.Conditions)
	u := core.Update{
		Label:        core.UpdateLabel(host.Labels[v1beta1.LabelInPlaceUpdate]),
		Bootstrapped: core.IsBootstrapped(marked(host, v1beta1.LabelBootstrapped), said),
		Generation:   host.Generation,
		Drain:        core.DrainNothing,
	}
	u.Version, _ = core.Find(said, core.OSVersionReady)
	if v := host.Status.OSVersion; v != nil {
		u.Armed, u.Outcome, u.Attempts, u.Again = v.Armed, core.Outcome(v.Outcome), int(v.Attempts), v.NextAttemptTime != nil
		u.Judged = verdict(v) == host.Annotations[v1beta1.AnnotationJudged]
	}
	if machine != nil {
		u.Drain = core.DrainManual
		if how := machine.Spec.InPlaceUpdate; how != nil && how.Drain != "" {
			u.Drain = core.DrainMode(how.Drain)
		}
	}
	return u
}

func marked(host *v1beta1.ElementalHost, label string) bool {
	return host.Labels[label] == v1beta1.LabelValueTrue
}

func mark(labels map[string]string, label string, yes bool) {
	if yes {
		labels[label] = v1beta1.LabelValueTrue
	} else {
		delete(labels, label)
	}
}

// put sets a label, or takes it away where there is nothing to say, or more than a label holds.
func put(labels map[string]string, label, value string) {
	if value == "" || len(value) > validation.LabelValueMaxLength {
		delete(labels, label)
	} else {
		labels[label] = value
	}
}

// ownerName is the name of the Cluster API Machine that owns an ElementalMachine; empty when none does.
func ownerName(machine *v1beta1.ElementalMachine) string {
	for _, owner := range machine.OwnerReferences {
		if owner.Kind == "Machine" {
			return owner.Name
		}
	}
	return ""
}

func equalMaps(a, b map[string]string) bool {
	return len(a) == len(b) && (len(a) == 0 || maps.Equal(a, b))
}

// sameVersion says whether two requests are the same JSON, however it is spaced and ordered.
func sameVersion(a, b *runtime.RawExtension) bool {
	if absent(a) || absent(b) {
		return absent(a) && absent(b)
	}
	one, errOne := core.CanonicalJSON(a.Raw)
	other, errOther := core.CanonicalJSON(b.Raw)
	if errOne != nil || errOther != nil {
		return bytes.Equal(a.Raw, b.Raw)
	}
	return bytes.Equal(one, other)
}

func absent(e *runtime.RawExtension) bool { return e == nil || len(e.Raw) == 0 }

// names says whether a reference means this object, which a reference that crosses namespaces never does.
func names(ref *v1beta1.ObjectReference, object metav1.Object) bool {
	return ref != nil && ref.Name == object.GetName() && (ref.Namespace == "" || ref.Namespace == object.GetNamespace())
}
