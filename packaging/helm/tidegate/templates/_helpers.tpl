{{/* What selects the pods: as Istio's. */}}
{{- define "tidegate.selector" -}}
app: {{ .Values.name }}
{{- range $key, $value := .Values.labels }}
{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- define "tidegate.labels" -}}
{{ include "tidegate.selector" . }}
app.kubernetes.io/name: {{ .Values.name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: tidegate
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Of what has no namespace: another release may have the same name elsewhere. */}}
{{- define "tidegate.clusterName" -}}
{{ .Values.name }}-{{ .Release.Namespace }}
{{- end }}

{{- define "tidegate.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* An address with a port. */}}
{{- define "tidegate.socket" -}}
{{- $host := .Values.listenAddress -}}
{{- if contains ":" $host }}{{ $host = printf "[%s]" $host }}{{ end -}}
{{ $host }}:{{ .port }}
{{- end }}

{{/* The pod, of a Deployment as of a DaemonSet. */}}
{{- define "tidegate.pod" -}}
metadata:
  labels:
    {{- include "tidegate.labels" . | nindent 4 }}
    sidecar.istio.io/inject: "false"
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The bootstrap file is read once: another one takes other pods.
    checksum/config: {{ include "tidegate.bootstrap" . | sha256sum }}
    prometheus.io/scrape: "true"
    prometheus.io/port: "15020"
    prometheus.io/path: /stats/prometheus
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ .Values.serviceAccount.name }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ add .Values.drain.delay .Values.drain.timeout 10 }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ .Values.runAsUser }}
    runAsGroup: {{ .Values.runAsUser }}
    fsGroup: {{ .Values.runAsUser }}
    seccompProfile:
      type: RuntimeDefault
  containers:
  - name: gateway
    image: {{ include "tidegate.image" . }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args:
    - run
    - --config=/etc/tidegate/gateway.toml
    - --log-level={{ .Values.log.level }}
    - --log-format={{ .Values.log.format }}
    {{- with .Values.env }}
    env:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
    {{- range .Values.service.ports }}
    - name: {{ .name }}
      containerPort: {{ .targetPort }}
      protocol: TCP
      {{- with .hostPort }}
      hostPort: {{ . }}
      {{- end }}
    {{- end }}
    - name: http-metrics
      containerPort: 15020
      protocol: TCP
    readinessProbe:
      httpGet:
        path: /healthz/ready
        port: 15021
      periodSeconds: 2
      timeoutSeconds: 3
      failureThreshold: 3
    # Whether it runs at all. What it is not ready for is mended by no restart: it drains, or waits for a configuration.
    livenessProbe:
      tcpSocket:
        port: 15021
      initialDelaySeconds: 5
      periodSeconds: 10
      timeoutSeconds: 3
      failureThreshold: 3
    securityContext:
      allowPrivilegeEscalation: false
      privileged: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    {{- with .Values.resources }}
    resources:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    volumeMounts:
    - name: config
      mountPath: /etc/tidegate
      readOnly: true
    - name: last-good
      mountPath: /var/lib/tidegate
    {{- range .Values.secretVolumes }}
    - name: {{ .name }}
      mountPath: {{ .mountPath }}
      readOnly: true
    {{- end }}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
  - name: config
    configMap:
      name: {{ .Values.name }}
  - name: last-good
    emptyDir:
      medium: Memory
      sizeLimit: {{ .Values.lastGood.sizeLimit }}
  {{- range .Values.secretVolumes }}
  - name: {{ .name }}
    secret:
      secretName: {{ .secretName }}
      optional: true
      defaultMode: 0440
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if not (kindIs "invalid" .Values.topologySpreadConstraints) }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- else if eq .Values.kind "Deployment" }}
  topologySpreadConstraints:
  {{- range tuple "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "tidegate.selector" $ | nindent 8 }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* Whether a node's own ports are taken, of which there is one each. */}}
{{- define "tidegate.hasHostPorts" -}}
{{- range .Values.service.ports }}{{ if .hostPort }}true{{ end }}{{ end }}
{{- end }}

{{/* One comes before another goes; where they would need the same port of a node, one goes first. */}}
{{- define "tidegate.rollingUpdate" -}}
{{- if include "tidegate.hasHostPorts" . -}}
maxSurge: 0
maxUnavailable: 1
{{- else -}}
maxSurge: {{ if eq .Values.kind "DaemonSet" }}1{{ else }}25%{{ end }}
maxUnavailable: 0
{{- end -}}
{{- end }}
