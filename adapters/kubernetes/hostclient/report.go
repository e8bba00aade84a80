package hostclient

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"elemental/adapters/kubernetes/api/v1beta1"
	"elemental/core"
	"elemental/ports"
)

// Report applies the host's status by server-side apply, so that what this report no longer says is removed,
// and what the controller says stays.
func (c *Client) Report(ctx context.Context, report ports.Report) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	said, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("reporting the status of host %s: %w", c.name, err)
	}
	if string(said) == c.written.said {
		return nil
	}
	metadata := map[string]string{"name": c.name, "namespace": c.namespace}
	if report.Identity != "" {
		metadata["uid"] = report.Identity
	}
	status := c.status(report, metav1.Now())
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.GroupVersion.String(), "kind": "ElementalHost", "metadata": metadata, "status": status,
	})
	if err != nil {
		return fmt.Errorf("reporting the status of host %s: %w", c.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var after v1beta1.ElementalHost
	err = c.hosts.Patch(types.ApplyPatchType).Namespace(c.namespace).Resource("elementalhosts").Name(c.name).SubResource("status").
		Param("fieldManager", fieldManager).Param("force", "true").Body(body).Do(ctx).Into(&after)
	if err != nil {
		return c.failure("reporting the status of", err)
	}
	version, err := strconv.ParseUint(after.ResourceVersion, 10, 64)
	if err != nil { // Then nothing is known to be older than this report.
		version = 0
	}
	status.OSVersion = after.Status.OSVersion // With its times as the cluster keeps them.
	c.written = written{said: string(said), status: status, version: version}
	return nil
}

func (c *Client) status(report ports.Report, now metav1.Time) v1beta1.ElementalHostStatus {
	return v1beta1.ElementalHostStatus{
		Phase:              string(report.Phase),
		ObservedGeneration: report.Generation,
		Conditions:         c.conditions(report.Conditions, now),
		OSVersion:          osVersion(report.OSVersion),
		System: &v1beta1.SystemStatus{
			BootID: report.System.BootID, MachineID: report.System.MachineID, OSImage: report.System.OSImage,
			KernelVersion: report.System.KernelVersion, Architecture: report.System.Architecture,
			AgentVersion: report.System.AgentVersion, Request: report.Request, Plugin: report.Plugin, PluginSchema: published(report.Schema),
		},
	}
}

// maxSchema is how many bytes of schema an object may carry; the CRD has the same bound.
const maxSchema = 64 << 10

// published is a plugin's schema without white space. One that is too large, or is none, is not published: the
// host still knows it.
func published(schema []byte) string {
	var compact bytes.Buffer
	if len(schema) == 0 || json.Compact(&compact, schema) != nil || compact.Len() > maxSchema {
		return ""
	}
	return compact.String()
}

// conditions carries on the transition time of a condition whose status stays.
func (c *Client) conditions(said []core.Condition, now metav1.Time) []metav1.Condition {
	all := make([]metav1.Condition, 0, len(said))
	for _, s := range said {
		condition := metav1.Condition{
			Type: s.Type, Status: metav1.ConditionStatus(s.Status), Reason: s.Reason, Message: s.Message,
			ObservedGeneration: s.Generation, LastTransitionTime: now,
		}
		if before := meta.FindStatusCondition(c.current, s.Type); before != nil && before.Status == condition.Status {
			condition.LastTransitionTime = before.LastTransitionTime
		}
		all = append(all, condition)
	}
	c.current = mergeConditions(c.current, all)
	return all
}

// mergeConditions takes what is now said over what stood before, as the cluster will.
func mergeConditions(before, said []metav1.Condition) []metav1.Condition {
	merged := append([]metav1.Condition(nil), said...)
	for _, b := range before {
		if meta.FindStatusCondition(said, b.Type) == nil {
			merged = append(merged, b)
		}
	}
	return merged
}

func osVersion(s ports.OSVersionStatus) *v1beta1.OSVersionStatus {
	status := &v1beta1.OSVersionStatus{
		Requested: s.Requested, Applied: s.Applied, Outcome: string(s.Outcome),
		Booted: version(s.Booted), Staged: version(s.Staged), Previous: version(s.Previous),
		Attempts: int32(s.Attempts), Armed: s.Armed, Retry: s.Retry, LastAttemptTime: moment(s.Last), NextAttemptTime: moment(s.Next),
	}
	if s.Failure.Class != "" {
		status.Failure = &v1beta1.Failure{
			Class: string(s.Failure.Class), Reason: s.Failure.Reason, Path: s.Failure.Path, Message: s.Failure.Message,
		}
	}
	if s.Progress.Step != "" {
		status.Progress = &v1beta1.Progress{Step: s.Progress.Step, Message: s.Progress.Message}
		if s.Progress.Percent >= 0 {
			percent := int32(min(100, s.Progress.Percent))
			status.Progress.Percent = &percent
		}
	}
	// An empty object, where there was more before, would be taken for null by server-side apply, and be refused.
	if *status == (v1beta1.OSVersionStatus{}) {
		return nil
	}
	return status
}

func version(v core.Version) *v1beta1.Version {
	if v == (core.Version{}) {
		return nil
	}
	return &v1beta1.Version{Reference: v.Reference, Digest: v.Digest, Version: v.Version}
}

func moment(t time.Time) *metav1.Time {
	if t.IsZero() {
		return nil
	}
	m := metav1.NewTime(t)
	return &m
}
