package portstest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"elemental/core"
	"elemental/ports"
)

// Yard puts hosts and machines into the cluster that an operator sees, and changes them as an agent and a
// controller would. Objects are of the operator's own namespace unless they name another.
type Yard interface {
	// Put makes a host or a machine that asks for a document, or for nothing if that is empty. The fields that
	// follow from the document are ignored.
	Put(t *testing.T, target ports.Target, labels map[string]string, document string)
	// Say gives a host another phase and other conditions.
	Say(t *testing.T, host string, phase core.Phase, conditions ...core.Condition)
	// Document returns what is asked of a host or machine.
	Document(t *testing.T, kind core.Kind, name string) string
	// Delete deletes a host.
	Delete(t *testing.T, host string)
	// Happen makes an event of a host.
	Happen(t *testing.T, host string, event ports.Event)
}

// Operator is an in-memory ports.Operator, and its own Yard. Its own namespace is "default".
type Operator struct {
	Error error // what every call answers, when it is set before the call

	mutex     sync.Mutex
	targets   map[string]*kept // by key
	followers map[chan struct{}]bool
}

type kept struct {
	target   ports.Target
	labels   map[string]string
	document map[string]any
	events   []ports.Event
}

var (
	_ ports.Operator = (*Operator)(nil)
	_ Yard           = (*Operator)(nil)
)

const ownNamespace = "default"

func keyOf(kind core.Kind, namespace, name string) string {
	return strings.Join([]string{string(cmp.Or(kind, core.KindHost)), cmp.Or(namespace, ownNamespace), name}, "/")
}

// Put makes a host or a machine.
func (o *Operator) Put(t *testing.T, target ports.Target, labels map[string]string, document string) {
	t.Helper()
	target.Kind, target.Namespace, target.Generation = cmp.Or(target.Kind, core.KindHost), cmp.Or(target.Namespace, ownNamespace), 1
	k := &kept{target: target, labels: labels}
	if document != "" {
		k.replace(t, []byte(document))
	}
	o.change(func() {
		if o.targets == nil {
			o.targets = map[string]*kept{}
		}
		o.targets[keyOf(target.Kind, target.Namespace, target.Name)] = k
	})
}

// Change does something to a host.
func (o *Operator) Change(t *testing.T, host string, do func(*ports.Target)) {
	t.Helper()
	o.change(func() {
		if k := o.targets[keyOf(core.KindHost, "", host)]; k != nil {
			do(&k.target)
		} else {
			t.Errorf("there is no host %s", host)
		}
	})
}

// Say changes a host's phase and conditions.
func (o *Operator) Say(t *testing.T, host string, phase core.Phase, conditions ...core.Condition) {
	t.Helper()
	o.Change(t, host, func(h *ports.Target) { h.Phase, h.Conditions = phase, conditions })
}

// Happen makes an event.
func (o *Operator) Happen(t *testing.T, host string, event ports.Event) {
	t.Helper()
	o.change(func() {
		k := o.targets[keyOf(core.KindHost, "", host)]
		k.events = append(k.events, event)
	})
}

// Document returns what is asked of a host or machine.
func (o *Operator) Document(t *testing.T, kind core.Kind, name string) string {
	t.Helper()
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return string(o.targets[keyOf(kind, "", name)].target.Asked)
}

// Delete deletes a host.
func (o *Operator) Delete(_ *testing.T, host string) {
	o.change(func() { delete(o.targets, keyOf(core.KindHost, "", host)) })
}

func (o *Operator) change(do func()) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	do()
	for follower := range o.followers {
		select {
		case follower <- struct{}{}:
		default:
		}
	}
}

// List returns what is selected.
func (o *Operator) List(ctx context.Context, selection ports.Selection) ([]ports.Target, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if err := errors.Join(ctx.Err(), o.Error); err != nil {
		return nil, err
	}
	var missing []error
	for _, name := range selection.Names {
		if o.targets[keyOf(selection.Kind, "", name)] == nil {
			missing = append(missing, fmt.Errorf("reading %s %s/%s: %w", cmp.Or(selection.Kind, core.KindHost), ownNamespace, name, ports.ErrNotFound))
		}
	}
	targets, err := o.selected(selection)
	return targets, errors.Join(append(missing, err)...)
}

func (o *Operator) selected(selection ports.Selection) ([]ports.Target, error) {
	var targets []ports.Target
	for _, k := range o.targets {
		t := k.target
		labelled, err := k.labelled(selection.Labels)
		switch {
		case err != nil:
			return nil, err
		case t.Kind != cmp.Or(selection.Kind, core.KindHost) || !labelled,
			!selection.Everywhere && t.Namespace != ownNamespace,
			len(selection.Names) > 0 && !slices.Contains(selection.Names, t.Name),
			selection.Fields != "" && selection.Fields != "metadata.name="+t.Name:
			continue
		}
		if selection.Objects {
			t.Object = k.object()
		}
		targets = append(targets, t)
	}
	slices.SortFunc(targets, func(a, b ports.Target) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return targets, nil
}

// labelled understands label=value, and several of them.
func (k *kept) labelled(selector string) (bool, error) {
	for _, part := range strings.FieldsFunc(selector, func(r rune) bool { return r == ',' }) {
		label, value, ok := strings.Cut(part, "=")
		if !ok {
			return false, fmt.Errorf("reading the label selector %q: %w", selector, ports.ErrInvalid)
		}
		if k.labels[label] != value {
			return false, nil
		}
	}
	return true, nil
}

// object is what stands for the whole object here.
func (k *kept) object() []byte {
	kinds := map[core.Kind]string{core.KindHost: "ElementalHost", core.KindMachine: "ElementalMachine"}
	text, err := json.Marshal(map[string]any{
		"apiVersion": "infrastructure.cluster.x-k8s.io/v1beta1", "kind": kinds[k.target.Kind],
		"metadata": map[string]any{"name": k.target.Name, "namespace": k.target.Namespace},
		"spec":     map[string]any{"osVersionManagement": k.document},
	})
	if err != nil {
		panic(err) // What came out of JSON goes back into it.
	}
	return text
}

// Follow shows what is selected, and its changes.
func (o *Operator) Follow(ctx context.Context, selection ports.Selection, seen func(ports.Target) bool) error {
	changed := make(chan struct{}, 1)
	o.change(func() {
		if o.followers == nil {
			o.followers = map[chan struct{}]bool{}
		}
		o.followers[changed] = true
	})
	defer o.change(func() { delete(o.followers, changed) })
	targets, err := o.List(ctx, selection)
	if err != nil {
		return err
	}
	shown := map[string]ports.Target{}
	for {
		for _, t := range targets {
			key := keyOf(t.Kind, t.Namespace, t.Name)
			if before, known := shown[key]; known && reflect.DeepEqual(before, t) {
				continue
			}
			shown[key] = t
			if !seen(t) {
				return nil
			}
		}
		for key, t := range shown {
			if slices.ContainsFunc(targets, func(is ports.Target) bool { return keyOf(is.Kind, is.Namespace, is.Name) == key }) {
				continue
			}
			delete(shown, key)
			if !seen(ports.Target{Namespace: t.Namespace, Name: t.Name, Standing: core.Standing{Kind: t.Kind, Gone: true}}) {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		o.mutex.Lock()
		targets, err = o.selected(selection)
		o.mutex.Unlock()
		if err != nil {
			return err
		}
	}
}

// Ask changes what is asked.
func (o *Operator) Ask(ctx context.Context, of ports.Target, change ports.Change) (ports.Target, error) {
	o.mutex.Lock()
	k := o.targets[keyOf(of.Kind, of.Namespace, of.Name)]
	o.mutex.Unlock()
	if err := errors.Join(ctx.Err(), o.Error); err != nil {
		return ports.Target{}, err
	}
	if k == nil {
		return ports.Target{}, fmt.Errorf("asking %s %s/%s: %w", cmp.Or(of.Kind, core.KindHost), cmp.Or(of.Namespace, ownNamespace), of.Name, ports.ErrNotFound)
	}
	var after ports.Target
	var err error
	o.change(func() {
		was := *k
		if err = k.ask(change); err == nil {
			after = k.target
		}
		if change.DryRun || err != nil {
			k.target, k.document = was.target, was.document
		}
	})
	return after, err
}

func (k *kept) ask(change ports.Change) error {
	before := k.target.Requested
	switch {
	case change.Retry != "":
		k.target.Retry = core.Renewal(change.Retry)
		return nil
	case change.Document != nil:
		document := map[string]any{}
		if err := json.Unmarshal(change.Document, &document); err != nil {
			return fmt.Errorf("asking %s: %w", k.target.Name, errors.Join(ports.ErrDenied, err))
		}
		k.document = document
	default:
		k.document = maps.Clone(k.document)
		if k.document == nil {
			k.document = map[string]any{}
		}
		version, _ := k.document["osVersion"].(map[string]any)
		if version = maps.Clone(version); version == nil {
			version = map[string]any{}
		}
		version["imageUri"] = change.Image
		k.document["osVersion"] = version
	}
	if k.hash(); k.target.Requested != before {
		k.target.Generation++
	}
	return nil
}

func (k *kept) replace(t *testing.T, document []byte) {
	t.Helper()
	if err := json.Unmarshal(document, &k.document); err != nil {
		t.Fatal(err)
	}
	k.hash()
}

func (k *kept) hash() {
	text, err := json.Marshal(k.document)
	if err == nil {
		k.target.Asked = text
		k.target.Requested, err = core.HashRequest(text)
	}
	if err != nil {
		panic(err) // What came out of JSON goes back into it.
	}
}

// Events returns what happened.
func (o *Operator) Events(ctx context.Context, of ports.Target) ([]ports.Event, error) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if err := errors.Join(ctx.Err(), o.Error); err != nil {
		return nil, err
	}
	k := o.targets[keyOf(of.Kind, of.Namespace, of.Name)]
	if k == nil {
		return nil, nil
	}
	return slices.SortedStableFunc(slices.Values(k.events), func(a, b ports.Event) int { return a.Last.Compare(b.Last) }), nil
}
